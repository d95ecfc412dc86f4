"""Freed memory stays with the process inside, and goes back at the end."""

from __future__ import annotations

import resource

import pytest
import torch

from pnag import kept_memory as module
from pnag.kept_memory import kept_memory

MEGABYTES = 256


def faults() -> int:
    """Pages that a large tensor needs anew, after one like it was freed."""
    torch.zeros(MEGABYTES << 18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(MEGABYTES << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


needs_glibc = pytest.mark.skipif(module._libc() is None, reason="no glibc, or MALLOC_ is set")


@needs_glibc
def test_freed_memory_is_not_mapped_anew() -> None:
    usual = faults()
    with kept_memory():
        with kept_memory():
            assert faults() < usual / 10
        assert faults() < usual / 10  # the inner one has not ended it
    assert faults() > usual / 2
    assert module._inside == 0


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
