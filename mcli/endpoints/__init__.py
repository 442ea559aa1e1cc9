"""Endpoints made of commands: for the daemon, and for a FastAPI application of one's own."""
