"""Mango, CouchDB's declarative queries: selectors, indexes and which index answers which query; all pure."""
