"""stdout and stderr as any terminal or file takes them, apart from what native code writes."""

from __future__ import annotations

import codecs
import io
import os
import sys

# What stands in our own lines and in the tables and bars of rich, in ASCII.
_SIGNS = {
    "\u2713": "ok",  # a tick
    "\u00b1": "+-",
    "\u00d7": "x",
    "\u2013": "-",
    "\u2014": "-",
    "\u2011": "-",  # a hyphen that does not break
    "\u2192": "->",
    "\u2026": "...",
    "\u2022": "*",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u00a0": " ",
    "\u202f": " ",
}
_ASCII = str.maketrans(_SIGNS | {chr(code): "-" for code in range(0x2500, 0x2580)})


class PlainStream(io.TextIOWrapper):
    """A text stream in an encoding other than UTF-8: ASCII, and names that the encoding has."""

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        super().write(text.translate(_ASCII))
        return len(text)


def set_up_streams() -> None:
    """Let every line be written whatever the encoding, through descriptors of Python's own.

    What a stream cannot encode (names of files, of classes) is written as \\xe9 or \\u2026. The
    streams no longer go through descriptors 1 and 2: those are left to native code, whose noise
    `pnag.noise` sends to a log without catching a line of ours.
    """
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if not isinstance(old, io.TextIOWrapper):
            continue
        try:
            old.flush()
            buffer = os.fdopen(os.dup(old.fileno()), "wb")
        except (OSError, ValueError):  # it is closed, or in memory
            continue
        kind = io.TextIOWrapper if is_unicode(old.encoding) else PlainStream
        new = kind(
            buffer,
            encoding=old.encoding,
            errors="backslashreplace",
            line_buffering=old.line_buffering,
            write_through=old.write_through,
        )
        setattr(sys, name, new)


def is_unicode(encoding: str) -> bool:
    """Whether an encoding can spell everything."""
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False
