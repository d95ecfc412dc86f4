"""How many threads torch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

SMALL_ROWS = 4096


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use this many threads for a while; the number holds for the whole process.

    Args:
        threads: None leaves it as it is.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(rows: int) -> AbstractContextManager[None]:
    """The fastest number of threads for the generator's training on so many architectures at once.

    Its operations on few rows take microseconds: several threads then gain less than they wait for
    each other, and far less beside another busy process.
    """
    return torch_threads(1) if rows <= SMALL_ROWS else nullcontext()
