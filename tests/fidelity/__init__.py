"""Routed = local: every program here is run both ways, and nobody outside can tell."""
