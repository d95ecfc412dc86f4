"""`pnag` and `python -m pnag`."""

import sys


def main() -> None:
    """Entry point; a Ctrl-C while the command line is still being imported is no traceback."""
    try:
        from pnag.commands.main import main as command_line

        command_line()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
