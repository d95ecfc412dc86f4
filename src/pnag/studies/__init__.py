"""Studies on top of the public API."""
