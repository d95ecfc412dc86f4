"""Errors that a user can fix: the command line prints them in one line and exits with 2."""


class PnagError(Exception):
    """A user's mistake or a broken file; the message names the thing, the value and the fix."""


class BadValueError(PnagError, ValueError):
    """An architecture or a size that does not exist: as a ValueError, what Python calls it."""
