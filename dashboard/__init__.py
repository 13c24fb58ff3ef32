"""The dashboard: everything that is interesting to know about the system, in a browser."""
