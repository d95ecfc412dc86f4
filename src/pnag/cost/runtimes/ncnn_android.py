"""Run networks in ncnn on an Android phone, by adb.

The phone runs ncnn's own `benchncnn`. ncnn's releases have no binary of it; it is built from
https://github.com/Tencent/ncnn (release of 2023 or later) with Android's NDK:

    cmake -B build -DCMAKE_BUILD_TYPE=Release -DANDROID_ABI=arm64-v8a \
        -DANDROID_PLATFORM=android-21 -DNCNN_BUILD_BENCHMARK=ON \
        -DCMAKE_TOOLCHAIN_FILE=$ANDROID_NDK/build/cmake/android.toolchain.cmake
    cmake --build build --target benchncnn

PNAG_BENCHNCNN names the file. It needs a network's graph alone: weights and images are constant.
As on phones usually, ncnn rounds to 16 bits where the CPU can; the runtime `ncnn` here does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import ncnn
from torch import nn

from pnag.cost.runtimes.ncnn import export_ncnn
from pnag.cost.runtimes.phone_program import OnPhone

# As benchmark/README.md of ncnn describes them, and benchmark/benchncnn.cpp prints its line.
BIG_CORES, CPU, NO_PAUSE = "2", "-1", "0"  # powersave, gpu device, cooling down
_TIMES = re.compile(r"min = +([0-9.]+) +max = +([0-9.]+) +avg = +([0-9.]+)")


@dataclass(frozen=True)
class NcnnAndroid(OnPhone):
    """ncnn on the big cores of a phone."""

    name = "ncnn-adb"
    version = ncnn.__version__
    binary = "benchncnn"
    variable = "PNAG_BENCHNCNN"
    how = (
        "build ncnn's benchncnn, of a release of 2023 or later, for Android "
        "(help(pnag.cost.runtimes.ncnn_android) has the commands) and name it with the environment "
        "variable PNAG_BENCHNCNN"
    )

    def files(self, network: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, bytes]:
        """ncnn's graph."""
        return {".param": export_ncnn(network, input_shape).param}

    def arguments(self, stem: str, input_shape: tuple[int, ...], runs: int) -> list[str]:
        """Of `benchncnn`, which runs a network eight times more to warm up."""
        _, channels, height, width = input_shape
        return [
            str(runs), str(self.threads), BIG_CORES, CPU, NO_PAUSE,
            f"param={stem}.param", f"shape=[{width},{height},{channels}]",
        ]  # fmt: skip

    def parse(self, said: str, runs: int) -> list[float] | None:
        """As often the mean, which is all that it prints, in hundredths of a millisecond."""
        found = _TIMES.search(said)
        # A file that it cannot read takes no time at all.
        return [float(found[3])] * runs if found and float(found[3]) else None


connect = NcnnAndroid.connect
