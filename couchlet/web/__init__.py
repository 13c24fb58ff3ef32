"""HTTP: reading requests, finding who answers them, and writing answers as CouchDB writes them."""
