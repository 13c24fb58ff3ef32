"""Who asks: the server's administrator, users of `_users`, sessions, and what each of them may do."""
