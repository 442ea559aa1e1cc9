"""Parts of mcli with the real thing around them: files, sockets, SQLite, a server."""
