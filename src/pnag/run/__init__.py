"""The order of the stages, and the run directory that they read and write."""
