"""Run networks in ExecuTorch with XNNPACK on an Android phone, by adb.

The phone runs ExecuTorch's own `executor_runner`, which nobody publishes as a binary; it is built
from https://github.com/pytorch/executorch (tag of the installed `executorch`) with Android's NDK:

    cmake -B build -DCMAKE_BUILD_TYPE=Release -DANDROID_ABI=arm64-v8a \
        -DCMAKE_TOOLCHAIN_FILE=$ANDROID_NDK/build/cmake/android.toolchain.cmake \
        -DEXECUTORCH_BUILD_XNNPACK=ON -DEXECUTORCH_BUILD_EXECUTOR_RUNNER=ON \
        -DEXECUTORCH_ENABLE_LOGGING=ON
    cmake --build build --target executor_runner

Without logging it would not print its times. PNAG_EXECUTOR_RUNNER names the file.

A turn is one start of the runner, which loads the network and runs it so many times, on images of
ones; it takes the times itself, so those of adb and of loading are not in them.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

from executorch.version import __version__
from filelock import FileLock, Timeout
from torch import nn

from pnag.cost.runtimes.adb import SHORT_TIMEOUT, Phone, PhoneGoneError, find_phone
from pnag.cost.runtimes.executorch import export_pte
from pnag.cost.timing import Call, Open
from pnag.errors import PnagError
from pnag.files import file_fingerprint, fingerprint, writing

RUNNER_VARIABLE = "PNAG_EXECUTOR_RUNNER"
FOLDER = "/data/local/tmp/pnag"
RUNNER = f"{FOLDER}/executor_runner"
_HOW = (
    "build ExecuTorch's executor_runner for Android with -DEXECUTORCH_BUILD_XNNPACK=ON and "
    "-DEXECUTORCH_ENABLE_LOGGING=ON (help(pnag.cost.runtimes.android) has the commands) and name "
    f"it with the environment variable {RUNNER_VARIABLE}"
)
_numbers = itertools.count()  # of the files on the phone
_EACH = re.compile(r"Iteration \d+ of \d+: ([0-9.]+) ms")
_TOTAL = re.compile(r"executed successfully (\d+) time\(s\) in ([0-9.]+) ms")  # older runners


@dataclass(frozen=True)
class ExecuTorchAndroid:
    """ExecuTorch with XNNPACK on a phone.

    Args:
        phone: as `find_phone` found it. runner: its file here.
        threads: of the runner's thread pool.
    """

    phone: Phone
    runner: Path
    threads: int = 1
    batch: int = 1

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        read = self.phone.property
        return {
            "device": read("ro.product.model"),
            "soc": read("ro.soc.model") or read("ro.board.platform"),
            "android": read("ro.build.version.release"),
            "runtime": "executorch-adb",
            "version": __version__,
            "runner": file_fingerprint(self.runner),
            "threads": self.threads,
            "batch": self.batch,
        }

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on images of ones.

        The file is pushed when it is first opened and removed with what is returned, so that a
        phone holds one group of networks at a time.
        """
        install(self.phone, self.runner)
        return _OnPhone(self, export_pte(network, input_shape))

    def times(self, remote: str, runs: int) -> list[float]:
        """Milliseconds of each of so many runs of a file on the phone.

        Raises:
            PnagError: if the phone is gone, or its runner cannot run the file or prints no times.
        """
        said = self.phone.shell(
            RUNNER,
            f"--model_path={remote}",
            f"--num_executions={runs}",
            f"--cpu_threads={self.threads}",
        )
        times = parse_times(said, runs)
        if times is None:
            raise PnagError(
                f"the runner printed no times of {runs} run(s), but {said.strip()[-200:]!r}; {_HOW}"
            )
        return times


class _OnPhone:
    """A network's file, pushed when it is first opened."""

    def __init__(self, runtime: ExecuTorchAndroid, model: bytes) -> None:
        self._runtime = runtime
        self._model: bytes | None = model
        self._remote = f"{FOLDER}/{next(_numbers)}.pte"

    def __call__(self) -> Call:
        if self._model is not None:
            phone = self._runtime.phone
            with tempfile.NamedTemporaryFile(suffix=".pte") as file:
                file.write(self._model)
                file.flush()
                phone.push(Path(file.name), self._remote)
            self._model = None
            _gone.discard(phone)
            weakref.finalize(self, _remove, phone, self._remote)
        return lambda runs: self._runtime.times(self._remote, runs)


def parse_times(said: str, runs: int) -> list[float] | None:
    """Milliseconds of each of so many runs; None if the runner's output does not have them.

    Older runners print the sum only; then each run is their mean.
    """
    times = [float(time) for time in _EACH.findall(said)]
    if not times and (total := _TOTAL.search(said)):
        times = [float(total[2]) / int(total[1])] * int(total[1])
    return times if len(times) == runs else None


def connect(threads: int = 1, adb: str | None = None) -> ExecuTorchAndroid:
    """The runtime on a phone; nothing is done to the phone yet.

    Args:
        adb: the phone's serial number; not needed if there is one phone.

    Raises:
        PnagError: if there is no runner, or for whatever keeps adb from the phone.
    """
    named = os.environ.get(RUNNER_VARIABLE)
    if not named:
        raise PnagError(f"a phone needs a runner: {_HOW}")
    runner = Path(named)
    if not runner.is_file():
        raise PnagError(f"{RUNNER_VARIABLE} is {named}, which is not a file: {_HOW}")
    return ExecuTorchAndroid(find_phone(adb), runner, threads)


@functools.cache
def install(phone: Phone, runner: Path) -> None:
    """Push the runner into an emptied folder, once for this process, which has the phone alone."""
    _hold(phone.serial)
    phone.shell("rm", "-rf", FOLDER)
    phone.shell("mkdir", "-p", FOLDER)
    phone.push(runner, RUNNER)
    phone.shell("chmod", "755", RUNNER)


@functools.cache
def _hold(serial: str) -> FileLock:
    """Keep other processes from a phone: they would empty the folder and disturb the times.

    The system frees it when this process ends, however it ends.

    Raises:
        PnagError: if another process has it.
    """
    # hashed, for a serial can be an address; the mode lets every user wait for every other
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


def _remove(phone: Phone, remote: str) -> None:
    """Remove a file, from a phone that answers; one that is gone keeps it until the next run."""
    if phone in _gone:
        return
    try:
        phone.shell("rm", "-f", remote, timeout=SHORT_TIMEOUT)
    except PhoneGoneError:
        _gone.add(phone)
    except PnagError:
        pass  # it is one file
