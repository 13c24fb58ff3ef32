"""The order of things: CouchDB's collation of text and of JSON values, as keys that compare byte by byte."""
