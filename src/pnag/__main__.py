"""`python -m pnag`."""

from pnag.cli.main import main

main()
