"""Run networks in MNN on an Android phone, by adb.

The phone runs MNN's own `benchmark.out`. MNN's releases have no binary of it; it is built from
https://github.com/alibaba/MNN (tag of the installed `mnn`) with Android's NDK, as one file:

    cmake -B build -DCMAKE_BUILD_TYPE=Release -DANDROID_ABI=arm64-v8a -DANDROID_STL=c++_static \
        -DANDROID_NATIVE_API_LEVEL=android-21 -DMNN_BUILD_FOR_ANDROID_COMMAND=ON \
        -DMNN_BUILD_SHARED_LIBS=OFF -DMNN_USE_LOGCAT=OFF -DMNN_ARM82=ON \
        -DMNN_BUILD_BENCHMARK=ON \
        -DCMAKE_TOOLCHAIN_FILE=$ANDROID_NDK/build/cmake/android.toolchain.cmake
    cmake --build build --target benchmark.out

PNAG_MNN_BENCHMARK names the file. It times every network in a folder, so each network has a folder
of its own. As by default there, MNN rounds to 16 bits where the CPU can; the runtime `mnn` here
does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from pnag.cost.runtimes.mnn import VERSION, export_mnn
from pnag.cost.runtimes.phone_program import OnPhone

# Arguments and printed line of benchmark/benchmark.cpp of MNN. It asks for big cores by itself.
WARM_UP, CPU, HALF_PRECISION = "10", "0", "2"  # its defaults
_TIMES = re.compile(r"max = +[0-9.]+ ?ms +min = +[0-9.]+ ?ms +avg = +([0-9.]+) ?ms")


@dataclass(frozen=True)
class MnnAndroid(OnPhone):
    """MNN on a phone's CPU."""

    name = "mnn-adb"
    version = VERSION
    binary = "benchmark.out"
    variable = "PNAG_MNN_BENCHMARK"
    how = (
        "build MNN's benchmark.out for Android with -DMNN_BUILD_SHARED_LIBS=OFF "
        "(help(pnag.cost.runtimes.mnn_android) has the commands) and name it with the environment "
        "variable PNAG_MNN_BENCHMARK"
    )

    def files(self, network: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, bytes]:
        """MNN's file, in a folder that adb makes."""
        return {"/network.mnn": export_mnn(network, input_shape)}

    def arguments(self, stem: str, input_shape: tuple[int, ...], runs: int) -> list[str]:
        """Of `benchmark.out`: the folder, then what to do with each network in it."""
        return [stem, str(runs), WARM_UP, CPU, str(self.threads), HALF_PRECISION]

    def parse(self, said: str, runs: int) -> list[float] | None:
        """As often the mean, which is all that it prints, in microseconds."""
        found = _TIMES.search(said)
        # Without a run, all that it prints is 0.
        return [float(found[1])] * runs if found and float(found[1]) else None


connect = MnnAndroid.connect
