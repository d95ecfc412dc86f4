"""Where networks run: one file a runtime, all of one interface, picked by name.

A runtime is a frozen dataclass with `threads` and `batch`. Each is loaded when it is asked for, so
that none but the default needs to be installed.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pnag.cost.timing import Open
from pnag.cpus import allowed_cpus
from pnag.errors import PnagError
from pnag.extras import needing

if TYPE_CHECKING:  # a recipe names a runtime, and reading one should load no framework
    from torch import nn


class Runtime(Protocol):
    """Runs networks, and says on what."""

    @property
    def batch(self) -> int:
        """Images of one call; a latency is that of a call."""

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images.

        Args:
            network: in eval mode afterwards.
            input_shape: of its one input, batch first.
        """


@dataclass(frozen=True)
class Entry:
    """Where a runtime's class is, and what brings its package.

    Attributes:
        about: for the list of runtimes. extra: of pnag's, empty if nothing else is needed.
        device: the class takes a device too: what follows the runtime's name after a colon.
        phone: whether it runs on a phone, which `adb` names.
    """

    module: str
    name: str
    about: str
    extra: str = ""
    device: bool = False
    phone: bool = False


RUNTIMES: dict[str, Entry] = {
    "onnxruntime": Entry("pnag.cost.runtimes.onnx_cpu", "OnnxCpu", "ONNX Runtime on the CPU"),
    "torch": Entry("pnag.cost.runtimes.torch_cpu", "TorchCpu", "PyTorch on the CPU, eager"),
    "torch-compiled": Entry(
        "pnag.cost.runtimes.torch_cpu",
        "TorchCompiled",
        "PyTorch on the CPU, by torch.compile; needs a C++ compiler",
    ),
    "cuda": Entry(
        "pnag.cost.runtimes.torch_cuda", "Cuda", "PyTorch on an NVIDIA GPU, 64 images a call"
    ),
    "cuda-batch1": Entry(
        "pnag.cost.runtimes.torch_cuda", "CudaBatch1", "the same, one image a call"
    ),
    "onnxruntime-cuda": Entry(
        "pnag.cost.runtimes.onnx_cuda",
        "OnnxCuda",
        "ONNX Runtime on an NVIDIA GPU; needs onnxruntime-gpu instead of onnxruntime",
    ),
    "tensorrt": Entry(
        "pnag.cost.runtimes.tensorrt", "TensorRt", "TensorRT on an NVIDIA GPU", "tensorrt"
    ),
    "openvino": Entry(
        "pnag.cost.runtimes.openvino",
        "OpenVino",
        "OpenVINO on the CPU; openvino:GPU and so on for its other devices",
        extra="openvino",
        device=True,
    ),
    "openvino-int8": Entry(
        "pnag.cost.runtimes.openvino",
        "OpenVinoInt8",
        "the same in 8 bits, quantised by NNCF",
        extra="openvino",
        device=True,
    ),
    "executorch": Entry(
        "pnag.cost.runtimes.executorch",
        "ExecuTorch",
        "ExecuTorch with XNNPACK on the CPU",
        "executorch",
    ),
    "executorch-adb": Entry(
        "pnag.cost.runtimes.android",
        "connect",
        "ExecuTorch with XNNPACK on an Android phone",
        "executorch",
        phone=True,
    ),
    "litert": Entry(
        "pnag.cost.runtimes.litert", "LiteRt", "LiteRT (TensorFlow Lite) on the CPU", "litert"
    ),
    "litert-adb": Entry(
        "pnag.cost.runtimes.litert_android",
        "connect",
        "LiteRT with XNNPACK on an Android phone",
        "litert",
        phone=True,
    ),
    "mnn": Entry("pnag.cost.runtimes.mnn", "Mnn", "MNN on the CPU", "mnn"),
    "mnn-adb": Entry(
        "pnag.cost.runtimes.mnn_android", "connect", "MNN on an Android phone", "mnn", phone=True
    ),
    "ncnn": Entry("pnag.cost.runtimes.ncnn", "Ncnn", "ncnn on the CPU", "ncnn"),
    "ncnn-adb": Entry(
        "pnag.cost.runtimes.ncnn_android", "connect", "ncnn on an Android phone", "ncnn", phone=True
    ),
}
DEFAULT = "onnxruntime"
# Runtimes on an NVIDIA GPU.
ON_NVIDIA = ("cuda", "cuda-batch1", "onnxruntime-cuda", "tensorrt")


def make_runtime(name: str, threads: int = 1, adb: str | None = None) -> Runtime:
    """A runtime by its name, or by name and device as in `openvino:GPU`.

    Args:
        threads: of the CPU; runtimes elsewhere ignore it.
        adb: serial number of the phone, for runtimes on one.

    Raises:
        PnagError: if there is none of that name, it takes no device, its package is not installed
            or cannot be loaded, or this machine lacks what it needs.
    """
    name, colon, device = name.partition(":")
    if name not in RUNTIMES:
        raise PnagError(f"there is no runtime {name!r}; there are {', '.join(RUNTIMES)}")
    entry = RUNTIMES[name]
    if colon and entry.device and not device:
        raise PnagError(
            f"the runtime {name}: names no device after the colon; give one, as in {name}:GPU, or "
            f"{name} alone"
        )
    if colon and not entry.device:
        takes = ", ".join(other for other, entry in RUNTIMES.items() if entry.device)
        raise PnagError(
            f"the runtime {name} takes no device {device!r}; those that take one: {takes}"
        )
    if adb is not None and not entry.phone:
        phones = " or ".join(other for other, entry in RUNTIMES.items() if entry.phone)
        raise PnagError(f"--adb {adb} names a phone, and {name} runs here; use --runtime {phones}")
    options = (adb,) if entry.phone else (device,) if device else ()
    with needing(f"the runtime {name}", entry.extra):
        make = getattr(importlib.import_module(entry.module), entry.name)
        runtime: Runtime = make(threads, *options)
    return runtime


def make_runtimes(names: str, threads: int = 1, adb: str | None = None) -> dict[str, Runtime]:
    """The runtimes of a comma list, by name, made before any is used: a mistake costs no hour.

    Args:
        adb: serial number of the phone, for those of them that run on one.

    Raises:
        PnagError: as `make_runtime`, or if a name occurs twice.
    """
    runtimes: dict[str, Runtime] = {}
    wanted = [part.strip() for part in names.split(",")]
    on_phones = any(name in RUNTIMES and RUNTIMES[name].phone for name in wanted)
    for name in wanted:
        if name in runtimes:
            raise PnagError(f"the runtime {name} is named twice in {names!r}")
        own = RUNTIMES[name].phone if name in RUNTIMES else False
        runtimes[name] = make_runtime(name, threads, adb if own or not on_phones else None)
    return runtimes


def too_many_threads(names: str, threads: int) -> str:
    """What to know if runtimes of this machine's CPU get more threads than it has; else empty.

    Args:
        names: a comma list; phones and GPUs have threads of their own.
    """
    allowed = allowed_cpus()
    here = []
    for wanted in names.split(","):
        name, _, device = wanted.strip().partition(":")
        phone = name in RUNTIMES and RUNTIMES[name].phone
        if device in ("", "CPU") and not phone and name not in ON_NVIDIA:
            here.append(wanted.strip())
    if threads <= allowed or not here:
        return ""
    return (
        f"{threads} threads of {', '.join(here)} share the {allowed} CPU(s) that this process may "
        f"use: they wait for each other, and times are several times as long as with {allowed}"
    )


def why_not(name: str) -> str:
    """Why a runtime cannot be used here and now, empty if it can."""
    try:
        make_runtime(name)
    except PnagError as error:
        return str(error)
    return ""


def clock_mhz(runtime: Runtime) -> float | None:
    """The device's clock just now, where a runtime has a method of this name and it can say."""
    ask = getattr(runtime, "clock_mhz", None)
    return ask() if ask else None
