"""What an architecture costs on a device: measured blocks, a fitted latency model, its error."""
