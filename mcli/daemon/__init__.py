"""The process that owns the store and decides what runs. It never imports user code."""
