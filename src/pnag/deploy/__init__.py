"""From an architecture to files that other runtimes load, and the networks people know."""
