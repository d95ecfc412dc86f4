"""Run networks in ExecuTorch with XNNPACK on an Android phone, by adb.

The phone runs ExecuTorch's own `executor_runner`, which nobody publishes as a binary; it is built
from https://github.com/pytorch/executorch (tag of the installed `executorch`) with Android's NDK:

    cmake -B build -DCMAKE_BUILD_TYPE=Release -DANDROID_ABI=arm64-v8a \
        -DCMAKE_TOOLCHAIN_FILE=$ANDROID_NDK/build/cmake/android.toolchain.cmake \
        -DEXECUTORCH_BUILD_XNNPACK=ON -DEXECUTORCH_BUILD_EXECUTOR_RUNNER=ON \
        -DEXECUTORCH_ENABLE_LOGGING=ON
    cmake --build build --target executor_runner

Without logging it would not print its times. PNAG_EXECUTOR_RUNNER names the file. It runs a network
on images of ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from executorch.version import __version__
from torch import nn

from pnag.cost.runtimes.executorch import export_pte
from pnag.cost.runtimes.phone_program import OnPhone

_EACH = re.compile(r"Iteration \d+ of \d+: ([0-9.]+) ms")
_TOTAL = re.compile(r"executed successfully (\d+) time\(s\) in ([0-9.]+) ms")  # older runners


@dataclass(frozen=True)
class ExecuTorchAndroid(OnPhone):
    """ExecuTorch with XNNPACK on a phone."""

    name = "executorch-adb"
    version = __version__
    binary = "executor_runner"
    variable = "PNAG_EXECUTOR_RUNNER"
    how = (
        "build ExecuTorch's executor_runner for Android with -DEXECUTORCH_BUILD_XNNPACK=ON and "
        "-DEXECUTORCH_ENABLE_LOGGING=ON (help(pnag.cost.runtimes.android) has the commands) and "
        "name it with the environment variable PNAG_EXECUTOR_RUNNER"
    )

    def files(self, network: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, bytes]:
        """ExecuTorch's program."""
        return {".pte": export_pte(network, input_shape)}

    def arguments(self, stem: str, input_shape: tuple[int, ...], runs: int) -> list[str]:
        """Of `executor_runner`."""
        return [
            f"--model_path={stem}.pte",
            f"--num_executions={runs}",
            f"--cpu_threads={self.threads}",
        ]

    def parse(self, said: str, runs: int) -> list[float] | None:
        """See `parse_times`."""
        return parse_times(said, runs)


def parse_times(said: str, runs: int) -> list[float] | None:
    """Milliseconds of each of so many runs; None if the runner's output does not have them.

    Older runners print the sum only; then each run is their mean.
    """
    times = [float(time) for time in _EACH.findall(said)]
    if not times and (total := _TOTAL.search(said)):
        times = [float(total[2]) / int(total[1])] * int(total[1])
    return times if len(times) == runs else None


connect = ExecuTorchAndroid.connect
