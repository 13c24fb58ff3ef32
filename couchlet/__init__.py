"""couchlet: an embedded server that speaks Apache CouchDB's HTTP interface over SQLite, for one machine."""

__all__ = ["__version__"]

__version__ = "0.1.0"
