"""A stand-in for TensorRT's Python API that runs on the CPU, by ONNX Runtime.

It has those names, parameters and defaults of TensorRT 10.0 and 11.4 that are in both, and no
others. `test_the_stand_in_is_a_part_of_tensorrt` compares it with the library where there is one.
"""

from __future__ import annotations

import ctypes
import enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

STREAM = 7  # torch's current one in these tests


class BuilderFlag(enum.Enum):
    DEBUG = 2
    GPU_FALLBACK = 3
    REFIT = 4
    TF32 = 6


class Severity(enum.IntEnum):
    ERROR = 1
    WARNING = 2


class Logger:
    ERROR, WARNING = Severity.ERROR, Severity.WARNING

    def __init__(self, min_severity: Severity = Severity.WARNING) -> None:
        assert isinstance(min_severity, Severity)


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class INetworkDefinition:
    pass


class IBuilderConfig:
    def __init__(self) -> None:
        self._flags = {BuilderFlag.TF32}

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.remove(flag)

    def get_flag(self, flag: BuilderFlag) -> bool:
        return flag in self._flags


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: Logger) -> None:
        assert isinstance(network, INetworkDefinition) and isinstance(logger, Logger)
        self._network = network

    @property
    def num_errors(self) -> int:
        return len(done.refused)

    def get_error(self, index: int) -> ParserError:
        return ParserError(done.refused[index])

    def parse(self, model: bytes, path: str | None = None) -> bool:
        self._network._model = model  # type: ignore[attr-defined]
        return not done.refused


class Builder:
    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, Logger)
        if not done.starts:
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 0  # 11 has no flag for an explicit batch, and 10 ignores it
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        done.flags = set(config._flags)
        return network._model if done.builds else None  # type: ignore[attr-defined]


class Runtime:
    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, Logger)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        return ICudaEngine(serialized_engine) if done.loads else None


class ICudaEngine:
    def __init__(self, model: bytes) -> None:
        cpu = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(model, providers=cpu)

    def create_execution_context(self) -> IExecutionContext:
        done.opened += 1
        return IExecutionContext(self._session)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(_described(self._session, name).shape)


class IExecutionContext:
    def __init__(self, session: Any) -> None:
        self._session, self._places = session, dict[str, Any]()

    def set_tensor_address(self, name: str, memory: int) -> bool:
        shape = _described(self._session, name).shape
        content = (ctypes.c_float * int(np.prod(shape))).from_address(memory)
        self._places[name] = np.frombuffer(content, np.float32).reshape(shape)
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == STREAM
        (logits,) = self._session.run(None, {"images": self._places["images"]})
        self._places["logits"][...] = logits
        return done.runs


class Done:
    """What TensorRT can do, and what it was asked."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.starts = self.builds = self.loads = self.runs = True
        self.flags: set[BuilderFlag] | None = None
        self.opened = 0


done = Done()


def _described(session: Any, name: str) -> Any:
    both = (*session.get_inputs(), *session.get_outputs())
    return next(one for one in both if one.name == name)


CLASSES = (
    Logger, ParserError, INetworkDefinition, IBuilderConfig, OnnxParser, Builder, Runtime,
    ICudaEngine, IExecutionContext, BuilderFlag,
)  # fmt: skip
MODULE = SimpleNamespace(**{one.__name__: one for one in CLASSES}, __version__="10.0.1")
