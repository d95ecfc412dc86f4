"""What runtimes on an Android phone share: a program that times a network's files there, by adb.

A turn is one start of the program, which loads the network and runs it so many times. It takes the
times itself, so those of adb and of loading are not in them.
"""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from filelock import FileLock, Timeout
from torch import nn

from pnag.cost.runtimes.adb import SHORT_TIMEOUT, Phone, PhoneGoneError, find_phone
from pnag.cost.timing import Call, Open
from pnag.errors import PnagError
from pnag.files import file_fingerprint, fingerprint, writing

FOLDER = "/data/local/tmp/pnag"
_numbers = itertools.count()  # of the files on the phone


@dataclass(frozen=True)
class OnPhone:
    """A runtime on a phone.

    Args:
        phone: as `find_phone` found it. program: its file here.
        threads: that the program gets.

    Attributes:
        name, version: of the runtime. binary: what the program is called on the phone.
        variable: of the environment, which names its file here. how: to get it, for errors.
    """

    phone: Phone
    program: Path
    threads: int = 1
    batch: int = 1
    name: ClassVar[str]
    version: ClassVar[str]
    binary: ClassVar[str]
    variable: ClassVar[str]
    how: ClassVar[str]

    @classmethod
    def connect(cls, threads: int = 1, adb: str | None = None) -> Self:
        """The runtime on a phone; nothing is done to the phone yet.

        Args:
            adb: the phone's serial number; not needed if there is one phone.

        Raises:
            PnagError: if there is no program, or for whatever keeps adb from the phone.
        """
        named = os.environ.get(cls.variable)
        if not named:
            raise PnagError(f"a phone needs the program {cls.binary}: {cls.how}")
        program = Path(named)
        if not program.is_file():
            raise PnagError(f"{cls.variable} is {named}, which is not a file: {cls.how}")
        return cls(find_phone(adb), program, threads)

    def files(self, network: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, bytes]:
        """What the program reads of a network, by suffix."""
        raise NotImplementedError

    def arguments(self, stem: str, input_shape: tuple[int, ...], runs: int) -> list[str]:
        """What makes the program time so many runs.

        Args:
            stem: place of the files on the phone, without their suffixes.
        """
        raise NotImplementedError

    def parse(self, said: str, runs: int) -> list[float] | None:
        """Milliseconds of each of so many runs; None if the output does not have them."""
        raise NotImplementedError

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        read = self.phone.property
        return {
            "device": read("ro.product.model"),
            "soc": read("ro.soc.model") or read("ro.board.platform"),
            "android": read("ro.build.version.release"),
            "runtime": self.name,
            "version": self.version,
            "runner": file_fingerprint(self.program),
            "threads": self.threads,
            "batch": self.batch,
        }

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls, on images that all are alike.

        Its files are pushed when it is first opened and removed with what is returned, so that a
        phone holds one group of networks at a time.
        """
        install(self.phone, self.program, self.binary)
        return _Pushed(self, self.files(network, input_shape), input_shape)

    def times(self, stem: str, input_shape: tuple[int, ...], runs: int) -> list[float]:
        """Milliseconds of each of so many runs of a network on the phone.

        Raises:
            PnagError: if the phone is gone, or its program cannot run the files or prints no times.
        """
        arguments = self.arguments(stem, input_shape, runs)
        said = self.phone.shell(f"{FOLDER}/{self.binary}", *arguments)
        times = self.parse(said, runs)
        if times is None:
            raise PnagError(
                f"the runner printed no times of {runs} run(s), but {said.strip()[-200:]!r}; "
                f"{self.how}"
            )
        return times


class _Pushed:
    """A network's files, pushed when it is first opened."""

    def __init__(
        self, runtime: OnPhone, files: Mapping[str, bytes], input_shape: tuple[int, ...]
    ) -> None:
        self._runtime, self._input_shape = runtime, input_shape
        self._files: Mapping[str, bytes] = files
        self._stem = f"{FOLDER}/{next(_numbers)}"

    def __call__(self) -> Call:
        if self._files:
            phone = self._runtime.phone
            remote = [f"{self._stem}{suffix}" for suffix in self._files]
            for place, content in zip(remote, self._files.values(), strict=True):
                with tempfile.NamedTemporaryFile() as file:
                    file.write(content)
                    file.flush()
                    phone.push(Path(file.name), place)
            self._files = {}
            _gone.discard(phone)
            weakref.finalize(self, remove, phone, *remote)
        return lambda runs: self._runtime.times(self._stem, self._input_shape, runs)


@functools.cache
def install(phone: Phone, program: Path, binary: str) -> None:
    """Push a program to a phone, once for this process, which has the phone alone."""
    _empty_folder(phone)
    place = f"{FOLDER}/{binary}"
    phone.push(program, place)
    phone.shell("chmod", "755", place)


@functools.cache
def _empty_folder(phone: Phone) -> None:
    """Make an empty folder, for all programs of this process."""
    _hold(phone.serial)
    phone.shell("rm", "-rf", FOLDER)
    phone.shell("mkdir", "-p", FOLDER)


@functools.cache
def _hold(serial: str) -> FileLock:
    """Keep other processes from a phone: they would empty the folder and disturb the times.

    The system frees it when this process ends, however it ends.

    Raises:
        PnagError: if another process has it.
    """
    # hashed, because a serial can be an address; the mode lets every user wait for every other
    path = Path(tempfile.gettempdir()) / f"pnag-phone-{fingerprint(serial)}.lock"
    lock = FileLock(path, mode=0o666)
    with writing(path, "name another folder for temporary files with TMPDIR"):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise PnagError(
                f"the phone {serial} is in use by another pnag on this machine; wait until that "
                "has ended, or stop it, and give the same command again"
            ) from error
    return lock


_gone: set[Phone] = set()  # those that answer no more: a hundred files would wait for each


def remove(phone: Phone, *remote: str) -> None:
    """Remove files from a phone that answers; one that is gone keeps them until the next run."""
    if phone in _gone:
        return
    try:
        phone.shell("rm", "-f", *remote, timeout=SHORT_TIMEOUT)
    except PhoneGoneError:
        _gone.add(phone)
    except PnagError:
        pass  # they are files of one network
