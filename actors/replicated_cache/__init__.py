"""replicated-cache: pulls products and weblogs into a local cache, and serves that cache to browsers."""
