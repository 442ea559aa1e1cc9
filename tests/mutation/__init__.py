"""Guards that are taken away one after the other; a test must notice each."""
