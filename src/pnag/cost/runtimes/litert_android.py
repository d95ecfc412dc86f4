"""Run networks in LiteRT on an Android phone, by adb.

The phone runs TensorFlow's own `benchmark_model`, of which there are nightly binaries:

    curl -o benchmark_model https://storage.googleapis.com/tensorflow-nightly-public/prod/\
tensorflow/release/lite/tools/nightly/latest/android_aarch64_benchmark_model

PNAG_BENCHMARK_MODEL names the file. It runs a network on random images, in float32 with XNNPACK.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from pnag.cost.runtimes.litert import VERSION, export_tflite
from pnag.cost.runtimes.phone_program import OnPhone

# Flags of tensorflow/lite/tools/benchmark/benchmark_model.cc, and what it prints at the end. By
# default it warms up for half a second and runs for another one.
WARM_UP = ["--warmup_runs=10", "--warmup_min_secs=0"]
NO_LONGER = "--min_secs=0"
_MEAN = re.compile(r"Inference \(avg\): ([0-9.]+(?:e\+[0-9]+)?)")  # microseconds, six digits


@dataclass(frozen=True)
class LiteRtAndroid(OnPhone):
    """LiteRT with XNNPACK on a phone's CPU."""

    name = "litert-adb"
    version = VERSION
    binary = "benchmark_model"
    variable = "PNAG_BENCHMARK_MODEL"
    how = (
        "fetch TensorFlow's android_aarch64_benchmark_model "
        "(help(pnag.cost.runtimes.litert_android) has the address) and name it with the "
        "environment variable PNAG_BENCHMARK_MODEL"
    )

    def files(self, network: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, bytes]:
        """LiteRT's file."""
        return {".tflite": export_tflite(network, input_shape)}

    def arguments(self, stem: str, input_shape: tuple[int, ...], runs: int) -> list[str]:
        """Of `benchmark_model`."""
        return [
            f"--graph={stem}.tflite", f"--num_threads={self.threads}", *WARM_UP,
            f"--num_runs={runs}", NO_LONGER,
        ]  # fmt: skip

    def parse(self, said: str, runs: int) -> list[float] | None:
        """As often the mean: it prints no run's time but the first and the last."""
        found = _MEAN.search(said)
        return [float(found[1]) / 1000] * runs if found else None


connect = LiteRtAndroid.connect
