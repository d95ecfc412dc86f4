"""Freed memory stays with the process inside, and goes back at the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pnag import kept_memory as module
from pnag.kept_memory import kept_memory

# In a process of its own: what else has run in one decides where its memory comes from.
PROGRAM = """
import resource
from pnag.kept_memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"x" * (64 << 20)  # freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
with kept_memory():
    with kept_memory():
        inner = faults()
    outer = faults()  # the inner one has not ended it
print(usual, inner, outer, faults())
"""

needs_glibc = pytest.mark.skipif(module._libc() is None, reason="no glibc, or MALLOC_ is set")


@needs_glibc
def test_freed_memory_is_not_mapped_anew() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    usual, inner, outer, after = map(int, done.stdout.split())
    assert max(inner, outer) < usual / 2 and after > usual / 2, done.stderr


@needs_glibc
def test_an_error_inside_ends_it_too() -> None:
    with pytest.raises(ZeroDivisionError), kept_memory():
        raise ZeroDivisionError
    assert module._inside == 0


def test_who_has_set_malloc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    module._libc.cache_clear()
    assert module._libc() is None
    with kept_memory():
        pass
    module._libc.cache_clear()
