"""The process that owns the store and decides. It never imports a user's code."""
