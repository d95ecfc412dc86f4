"""Translate an ONNX graph of a convolutional network into a LiteRT file (.tflite).

LiteRT keeps channels last: a tensor that is (N, C, H, W) in ONNX is (N, H, W, C) there, from the
images on, so that nothing needs to be transposed. Tensors of two dimensions stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pnag.cost.runtimes.tflite_file import TfliteFile
from pnag.errors import PnagError

LAST = (0, 2, 3, 1)  # the dimensions of ONNX, channels last
ACTIVATIONS: dict[tuple[float | None, float | None], str] = {
    (0.0, 6.0): "RELU6",
    (0.0, None): "RELU",
}
Attributes = dict[str, Any]


def tflite_of_onnx(content: bytes, *, any_batch: bool) -> bytes:
    """The LiteRT file of an ONNX file.

    Args:
        content: of a network with one input (N, C, H, W) and one output, in float32. What is
            constant is an initializer there, not computed.
        any_batch: whether the file takes any number of images, and not N.

    Raises:
        PnagError: if it has a layer that is not known here.
    """
    return _Translation(onnx.load_from_string(content), any_batch).to_bytes()


class _Translation:
    def __init__(self, model: onnx.ModelProto, any_batch: bool) -> None:
        self.graph = onnx.shape_inference.infer_shapes(model).graph
        self.file = TfliteFile()
        self.constants = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.graph.initializer
        }
        described = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self.any_batch = any_batch
        self.shapes = {value.name: _shape(value) for value in described}
        self.uses = Counter(name for node in self.graph.node for name in node.input)
        images = self.graph.input[0].name
        self.tensors = {images: self.file.tensor(self.shape(images), images)}
        self.made: dict[int, Any] = {}  # by tensor, options of the operator that computes it

    def to_bytes(self) -> bytes:
        for node in self.graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type not in LAYERS:
                raise _unknown(node)
            LAYERS[node.op_type](self, node, attributes)
        first, last = self.graph.input[0].name, self.graph.output[0].name
        return self.file.to_bytes({first: self.tensors[first]}, {last: self.tensors[last]})

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor of ONNX, in LiteRT's order."""
        shape = self.shapes[name]
        if self.any_batch:  # of no constant, so that the first dimension counts images
            shape = (-1, *shape[1:])
        return tuple(shape[i] for i in LAST) if len(shape) == 4 else shape

    def given(self, name: str, node: onnx.NodeProto) -> int:
        """An operand of a layer that takes two tensors of any shape."""
        if name not in self.constants:
            return self.tensors[name]
        values = self.constants[name].astype(np.float32)
        rank = len(self.shapes[node.output[0]])
        if rank == 4 and values.size > 1:
            values = values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(LAST)
        return self.file.constant(values, name)

    def append(
        self, node: onnx.NodeProto, code: str, inputs: list[int], options: Any = None
    ) -> None:
        """The operator that computes the output of a layer."""
        output = self.file.tensor(self.shape(node.output[0]), node.output[0])
        self.file.operator(code, inputs, output, options)
        self.tensors[node.output[0]] = output
        self.made[output] = options

    def padded(self, tensor: int, shape: tuple[int, ...], pads: list[int]) -> int:
        """A tensor with zeros around its images.

        Args:
            shape: of the tensor, channels last. pads: above, left, below and right.
        """
        if not any(pads):
            return tensor
        above, left, below, right = pads
        amounts = np.array([[0, 0], [above, below], [left, right], [0, 0]], np.int32)
        count, height, width, channels = shape
        larger = (count, height + above + below, width + left + right, channels)
        output = self.file.tensor(larger, "padded")
        self.file.operator(
            "PAD", [tensor, self.file.constant(amounts)], output, schema.PadOptionsT()
        )
        return output


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


def _unknown(node: onnx.NodeProto, why: str = "") -> PnagError:
    return PnagError(
        f"pnag cannot convert this network to LiteRT: it does not know its layer {node.op_type}"
        f"{why and f' {why}'} ({node.name}); take onnx instead"
    )


def _convolution(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    weights = graph.constants[node.input[1]]  # (out, in of a group, H, W)
    shape = graph.shape(node.input[0])
    groups, channels = attributes.get("group", 1), shape[3]
    strides, spread = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    pads = attributes.get("pads", [0, 0, 0, 0])
    if weights.ndim != 4 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise _unknown(node, f"of {weights.ndim - 2} dimensions")
    same = pads == _same_pads(shape[1:3], weights.shape[2:], strides, spread)
    images = (
        graph.tensors[node.input[0]]
        if same
        else graph.padded(graph.tensors[node.input[0]], shape, pads)
    )
    options: Any
    if groups == channels and groups > 1:
        code, order = "DEPTHWISE_CONV_2D", (1, 2, 3, 0)
        options = schema.DepthwiseConv2DOptionsT(depthMultiplier=len(weights) // groups)
    else:
        code, order, options = "CONV_2D", (0, 2, 3, 1), schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH, options.strideW = strides
    options.dilationHFactor, options.dilationWFactor = spread
    bias = graph.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weights))
    operands = [images, *_learned(graph, weights.transpose(order), bias)]
    graph.append(node, code, operands, options)


def _same_pads(
    size: tuple[int, ...], kernel: tuple[int, ...], strides: list[int], spread: list[int]
) -> list[int]:
    """Above, left, below and right, what LiteRT itself adds to images of this size if asked to."""
    before, after = [], []
    for length, reach, stride, step in zip(size, kernel, strides, spread, strict=True):
        total = max((-(-length // stride) - 1) * stride + (reach - 1) * step + 1 - length, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before + after


def _learned(graph: _Translation, *values: NDArray[Any]) -> list[int]:
    return [graph.file.constant(np.ascontiguousarray(v, np.float32)) for v in values]


def _linear(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    if (
        attributes.get("alpha", 1) != 1
        or attributes.get("beta", 1) != 1
        or attributes.get("transA")
    ):
        raise _unknown(node, "with factors")
    weights = graph.constants[node.input[1]]
    weights = weights if attributes.get("transB") else weights.T  # (out, in)
    bias = graph.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weights))
    operands = [graph.tensors[node.input[0]], *_learned(graph, weights, bias)]
    graph.append(node, "FULLY_CONNECTED", operands, schema.FullyConnectedOptionsT())


def _activation(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Done by the operator before it, where that can and nothing else takes its output."""
    limits = _limits(graph, node)
    code = ACTIVATIONS.get(limits)
    if code is None:
        raise _unknown(node, f"to {limits}")
    before = graph.tensors[node.input[0]]
    options = graph.made.get(before) if graph.uses[node.input[0]] == 1 else None
    if options is not None and getattr(options, "fusedActivationFunction", None) == 0:
        options.fusedActivationFunction = getattr(schema.ActivationFunctionType, code)
        graph.tensors[node.output[0]] = before
    else:
        graph.append(node, code, [before])


def _limits(graph: _Translation, node: onnx.NodeProto) -> tuple[float | None, float | None]:
    """What values are cut to; None where they are not."""
    if node.op_type == "Relu":
        return 0.0, None
    low, high = (
        float(graph.constants[name]) if name else None for name in (*node.input[1:], "", "")[:2]
    )
    return low, high


def _sum(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    operands = [graph.given(name, node) for name in node.input]
    graph.append(node, "ADD", operands, schema.AddOptionsT())


def _product(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    operands = [graph.given(name, node) for name in node.input]
    graph.append(node, "MUL", operands, schema.MulOptionsT())


def _gate(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    """max(0, min(1, a x + b)): LiteRT has no operator for it, but cuts sums at 6."""
    scale, shift = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    if abs(scale - 1 / 6) > 1e-6 or shift != 0.5:
        raise _unknown(node, f"of {scale:g} x + {shift:g}")
    six = schema.ActivationFunctionType.RELU6
    above = graph.file.tensor(graph.shape(node.output[0]), "gate")
    shifted = [graph.tensors[node.input[0]], *_learned(graph, np.array([3.0]))]
    graph.file.operator("ADD", shifted, above, schema.AddOptionsT(fusedActivationFunction=six))
    graph.append(node, "MUL", [above, *_learned(graph, np.array([1 / 6]))], schema.MulOptionsT())


def _mean(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Over the height and width of images."""
    pooling = node.op_type == "GlobalAveragePool"
    axes = [2, 3] if pooling else graph.constants[node.input[1]].tolist()
    if len(graph.shapes[node.input[0]]) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise _unknown(node, f"over the dimensions {axes}")
    over = graph.file.constant(np.array([1, 2], np.int32))
    options = schema.ReducerOptionsT(keepDims=bool(attributes.get("keepdims", 1)))
    graph.append(node, "MEAN", [graph.tensors[node.input[0]], over], options)


def _flat(graph: _Translation, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Of images of one pixel: of larger ones, the order would have to change."""
    shape = graph.shape(node.input[0])
    if attributes.get("axis", 1) != 1 or len(shape) != 4 or shape[1:3] != (1, 1):
        raise _unknown(node, f"of shape {graph.shapes[node.input[0]]}")
    target = graph.file.constant(np.array([-1, shape[3]], np.int32))
    graph.append(node, "RESHAPE", [graph.tensors[node.input[0]], target])


def _by_element(code: str) -> Callable[[_Translation, onnx.NodeProto, Attributes], None]:
    return lambda graph, node, _: graph.append(node, code, [graph.tensors[node.input[0]]])


LAYERS: dict[str, Callable[[_Translation, onnx.NodeProto, Attributes], None]] = {
    "Add": _sum,
    "Clip": _activation,
    "Conv": _convolution,
    "Flatten": _flat,
    "Gemm": _linear,
    "GlobalAveragePool": _mean,
    "HardSigmoid": _gate,
    "HardSwish": _by_element("HARD_SWISH"),
    "Mul": _product,
    "ReduceMean": _mean,
    "Relu": _activation,
    "Sigmoid": _by_element("LOGISTIC"),
}
