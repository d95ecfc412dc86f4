"""How batches reach the device that trains: one copy each, made while the step before it runs.

On a GPU the decoded images of a part are kept in its memory where they fit, and a batch is then a
few kilobytes of row numbers and random choices. Where they do not fit, a thread gathers each
batch's pixels in pinned memory, AHEAD batches before they are needed. Either way a batch is one
copy, which the training step does not wait for. On a CPU batches are made as they are asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.images.images import ImagePart

AHEAD = 2
RESIDENT_SHARE = 0.2  # of a GPU's memory that decoded images may take
_ALIGNED = 16  # bytes; the largest item is 8
_UPLOAD = 64 << 20  # bytes that are copied at a time
Arrays = Mapping[str, NDArray[Any]]


class Pixels:
    """The decoded images of a part, on a GPU or where they were.

    Args:
        device: that works on batches of them.
        share: of a GPU's memory that the images may take (RESIDENT_SHARE if None); more stay in the
            CPU's.

    Attributes:
        resident: (N, 3, S, S) uint8 on the device, or None.
    """

    def __init__(self, part: ImagePart, device: torch.device, share: float | None = None) -> None:
        self.images = part.images
        self.device = device
        self.resident: Tensor | None = None
        if device.type == "cuda":
            _, total = torch.cuda.mem_get_info(device)
            if self.images.nbytes <= total * (RESIDENT_SHARE if share is None else share):
                self.resident = _uploaded(self.images, device)

    def batches(self, asked: Iterable[Asked]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Images (B, 3, S, S) uint8 and the arrays of each batch, on the device."""
        if self.device.type == "cuda":
            yield from self.ahead(asked)
            return
        for batch in asked:
            yield (
                torch.from_numpy(self.images[batch.rows]),
                {name: torch.from_numpy(array) for name, array in batch.arrays.items()},
            )

    def ahead(self, asked: Iterable[Asked]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """The same, each batch made by a thread while the ones before it are worked on."""
        ready: queue.Queue[_Sent | BaseException | None] = queue.Queue(AHEAD)
        stopped = threading.Event()
        arguments = (asked, ready, stopped)
        thread = threading.Thread(None, self._send_all, "pnag batches", arguments, daemon=True)
        thread.start()
        try:
            while (sent := ready.get()) is not None:
                if isinstance(sent, BaseException):
                    raise sent
                yield self._received(sent)
        finally:
            stopped.set()
            with contextlib.suppress(queue.Empty):
                while True:  # a thread that waits for room may go
                    ready.get_nowait()
            thread.join()

    def _send_all(
        self,
        asked: Iterable[Asked],
        ready: queue.Queue[_Sent | BaseException | None],
        stopped: threading.Event,
    ) -> None:
        last: BaseException | None = None
        try:
            with _of_its_own(self.device):
                # One more than wait in the queue: the buffer that is being filled.
                slots = itertools.cycle([_Slot(self.device) for _ in range(AHEAD + 1)])
                for batch, slot in zip(asked, slots, strict=False):
                    if stopped.is_set():
                        return
                    arrays = dict(batch.arrays)
                    rows: NDArray[np.int64] | None = batch.rows
                    if self.resident is not None:
                        arrays["rows"], rows = batch.rows, None
                    ready.put(slot.send(arrays, self.images, rows))
        except BaseException as error:  # handed on to the thread that asks for batches
            last = error
        finally:
            if not stopped.is_set():
                ready.put(last)

    def _received(self, sent: _Sent) -> tuple[Tensor, dict[str, Tensor]]:
        arrays = sent.received()
        if self.resident is not None:
            return self.resident.index_select(0, arrays.pop("rows")), arrays
        return arrays.pop("pixels"), arrays


@dataclass(frozen=True)
class Asked:
    """A batch to be made: rows (B,) of the part, and arrays that go with them."""

    rows: NDArray[np.int64]
    arrays: Arrays


@dataclass(frozen=True)
class _Place:
    """Where an array lies in a buffer of bytes."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def stop(self) -> int:
        return self.start + int(np.prod(self.shape)) * self.dtype.itemsize

    def of(self, buffer: Tensor) -> Tensor:
        kind: torch.dtype = torch.from_numpy(np.empty(0, self.dtype)).dtype
        return buffer[self.start : self.stop].view(kind).view(self.shape)


class _Sent:
    """A batch on its way to the device."""

    def __init__(self, buffer: Tensor, places: Mapping[str, _Place]) -> None:
        self._buffer, self._places = buffer, places
        self._arrived = torch.cuda.Event() if buffer.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    def wait(self) -> None:
        """Until the copy is done."""
        if self._arrived is not None:
            self._arrived.synchronize()

    def received(self) -> dict[str, Tensor]:
        """Its arrays, for the current stream, which waits for the copy; the CPU does not."""
        if self._arrived is not None:
            stream = torch.cuda.current_stream(self._buffer.device)
            stream.wait_event(self._arrived)
            self._buffer.record_stream(stream)
        return {name: place.of(self._buffer) for name, place in self._places.items()}


class _Slot:
    """A pinned buffer that batches are packed into, one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._last: _Sent | None = None

    def send(
        self, arrays: Arrays, images: NDArray[np.uint8], rows: NDArray[np.int64] | None
    ) -> _Sent:
        """Pack arrays, and the pixels of rows if there are any, and copy them to the device."""
        if self._last is not None:
            self._last.wait()  # the buffer is still being read
        forms = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if rows is not None:
            forms["pixels"] = ((len(rows), *images.shape[1:]), np.dtype(np.uint8))
        places: dict[str, _Place] = {}
        size = 0
        for name, (shape, dtype) in forms.items():
            places[name] = _Place(-(-size // _ALIGNED) * _ALIGNED, shape, dtype)
            size = places[name].stop
        cuda = self._device.type == "cuda"
        if len(self._buffer) < size:
            self._buffer = torch.empty(size, dtype=torch.uint8, pin_memory=cuda)
        for name, array in arrays.items():
            places[name].of(self._buffer).numpy()[...] = array
        if rows is not None:
            # "clip" writes straight into the buffer, and without Python's lock.
            np.take(images, rows, 0, places["pixels"].of(self._buffer).numpy(), "clip")
        packed = self._buffer[:size]
        sent = packed.to(self._device, non_blocking=True) if cuda else packed.clone()
        self._last = _Sent(sent, places)
        return self._last


@contextlib.contextmanager
def _of_its_own(device: torch.device) -> Iterator[None]:
    """A stream for a thread's copies, so that they run beside the step."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
        yield


def _uploaded(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    resident = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, _UPLOAD // max(1, images[:1].nbytes))
    for first in range(0, len(images), step):
        # A copy: torch warns of arrays that may not be written.
        resident[first : first + step] = torch.from_numpy(np.array(images[first : first + step]))
    return resident
