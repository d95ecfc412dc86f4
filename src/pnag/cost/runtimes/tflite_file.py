"""Write a LiteRT file (.tflite): tensors, operators, and the names of what goes in and comes out.

LiteRT's own converter from torch demands an older torch and takes half a minute a network. Its
runtime brings the schema of its files, which suffices to write the few operators of our networks.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Constant = NDArray[np.float32] | NDArray[np.int32]
SCHEMA_VERSION = 3
ALIGNMENT = 16  # bytes: what LiteRT's schema demands of constants
TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
SIGNATURE = "serving_default"  # what LiteRT calls it where a file has one


class _Buffer(schema.BufferT):  # type: ignore[misc]  # the schema has no types
    """A constant's bytes, aligned: the class that it derives from does not align them."""

    def Pack(self, builder: Any) -> Any:
        """Write the buffer; return its place."""
        content = self.data.tobytes()
        builder.StartVector(1, len(content), ALIGNMENT)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = content
        place = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, place)
        return schema.BufferEnd(builder)


class TfliteFile:
    """A file of one graph. Tensors are named by their index."""

    def __init__(self) -> None:
        self.operators: list[Any] = []  # OperatorT of the schema
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first stands for "no constant"
        self._codes: list[int] = []

    def tensor(self, shape: tuple[int, ...], name: str) -> int:
        """A tensor that is computed, in float32.

        Args:
            shape: a negative number, which may be the first alone, stands for any.
        """
        given = schema.TensorT(shape=[abs(size) for size in shape], name=name)
        if min(shape, default=0) < 0:
            given.shapeSignature = list(shape)
        return self._add(given)

    def constant(self, values: Constant, name: str = "constant") -> int:
        """A constant of 32 bits, float or integer."""
        self._buffers.append(_Buffer(data=values))
        buffer = len(self._buffers) - 1
        kind = TYPES[str(values.dtype)]
        return self._add(schema.TensorT(list(values.shape), kind, buffer, name))

    def _add(self, tensor: Any) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def operator(self, code: str, inputs: list[int], output: int, options: Any = None) -> None:
        """Append an operator of one output.

        Args:
            code: as `schema.BuiltinOperator` calls it. options: the schema's, such as AddOptionsT.
        """
        number = getattr(schema.BuiltinOperator, code)
        if number not in self._codes:
            self._codes.append(number)
        operator = schema.OperatorT(self._codes.index(number), inputs, [output])
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.operators.append(operator)

    def to_bytes(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """The file, whose signature names these tensors."""
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=self.operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name, index) for name, index in inputs.items()],
            outputs=[schema.TensorMapT(name, index) for name, index in outputs.items()],
            signatureKey=SIGNATURE,
        )
        model = schema.ModelT(
            version=SCHEMA_VERSION,
            # The first field is of 8 bits; readers take the larger of the two.
            operatorCodes=[
                schema.OperatorCodeT(min(code, 127), None, 1, code) for code in self._codes
            ],
            subgraphs=[graph],
            description="pnag",
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
