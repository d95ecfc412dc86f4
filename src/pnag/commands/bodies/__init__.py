"""What the commands do, kept apart from their options so that `pnag --help` loads no framework."""
