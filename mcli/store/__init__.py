"""The store: all of the SQL, and the one thread that writes."""
