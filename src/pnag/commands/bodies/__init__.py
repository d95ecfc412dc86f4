"""What the commands do: apart from their options, so that `pnag --help` loads no framework."""
