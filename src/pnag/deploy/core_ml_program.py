"""Compute what a Core ML program says, in torch: Apple's own runtime is on its devices only.

A program is a list of operations of Apple's MIL, each with named inputs. Those that image networks
are converted to are here, as
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pnag.errors import PnagError

Inputs = dict[str, Any]


def run_program(program: Any, images: Tensor) -> Tensor:
    """What a program's only function makes of its only input.

    Args:
        program: of `coremltools.converters.mil`, as loaded from a model's file.

    Raises:
        PnagError: if an operation is not one of `OPERATIONS`.
    """
    function = program.functions["main"]
    known: dict[str, Tensor] = dict.fromkeys(function.inputs, images)

    def value(of: Any) -> Any:
        if isinstance(of, list | tuple):
            return [value(one) for one in of]
        if of.val is None:
            return known[of.name]
        if isinstance(of.val, str | bool):
            return of.val
        constant = torch.as_tensor(of.val)
        return constant if constant.is_floating_point() else constant.tolist()

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        compute = OPERATIONS.get(operation.op_type)
        if compute is None:
            raise PnagError(
                f"the Core ML program has the operation {operation.op_type}, which pnag cannot "
                "compute to check it; take onnx instead"
            )
        inputs = {name: value(of) for name, of in operation.inputs.items() if of is not None}
        made = compute(inputs)
        outputs = made if isinstance(made, list | tuple) else [made]
        known.update(zip((o.name for o in operation.outputs), outputs, strict=True))
    return known[function.outputs[0].name]


def _padded(x: Tensor, given: Inputs, kernel: list[int], fill: float) -> Tensor:
    """Padded as `pad_type` says; `pad` is before and after, of height, then of width."""
    how = given.get("pad_type", "valid")
    if how == "valid":
        return x
    if how == "custom":
        top, bottom, left, right = given["pad"]
        return F.pad(x, (left, right, top, bottom), value=fill)
    strides, steps = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    sides: list[int] = []
    for size, width, stride, step in zip(x.shape[2:], kernel, strides, steps, strict=True):
        whole = max(0, (-(-size // stride) - 1) * stride + step * (width - 1) + 1 - size)
        sides = [whole // 2, whole - whole // 2, *sides]  # same: the larger half comes after
    return F.pad(x, sides, value=fill)


def _conv(given: Inputs) -> Tensor:
    weight = given["weight"]
    x = _padded(given["x"], given, list(weight.shape[2:]), 0.0)
    strides, steps = given.get("strides", 1), given.get("dilations", 1)
    return F.conv2d(x, weight, given.get("bias"), strides, 0, steps, given.get("groups", 1))


def _max_pool(given: Inputs) -> Tensor:
    x = _padded(given["x"], given, given["kernel_sizes"], -torch.inf)
    return F.max_pool2d(x, given["kernel_sizes"], given["strides"], ceil_mode=_ceil(given))


def _avg_pool(given: Inputs) -> Tensor:
    x, window = given["x"], (given["kernel_sizes"], given["strides"], 0, _ceil(given))
    total = F.avg_pool2d(_padded(x, given, given["kernel_sizes"], 0.0), *window)
    if not given.get("exclude_padding_from_average", False):
        return total
    ones = _padded(torch.ones_like(x), given, given["kernel_sizes"], 0.0)
    return total / F.avg_pool2d(ones, *window)


def _ceil(given: Inputs) -> bool:
    return bool(given.get("ceil_mode", False))


def _batch_norm(given: Inputs) -> Tensor:
    return F.batch_norm(
        given["x"], given["mean"], given["variance"], given.get("gamma"), given.get("beta"),
        eps=float(given["epsilon"]),
    )  # fmt: skip


def _layer_norm(given: Inputs) -> Tensor:
    x, axes = given["x"], given["axes"]
    spread, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    scaled = (x - mean) / torch.sqrt(spread + given["epsilon"])
    shifted: Tensor = scaled * given.get("gamma", 1.0) + given.get("beta", 0.0)
    return shifted


def _matmul(given: Inputs) -> Tensor:
    x: Tensor = given["x"].transpose(-1, -2) if given.get("transpose_x") else given["x"]
    y: Tensor = given["y"].transpose(-1, -2) if given.get("transpose_y") else given["y"]
    return x @ y


def _reshape(given: Inputs) -> Tensor:
    x: Tensor = given["x"]
    return x.reshape([x.shape[n] if size == 0 else size for n, size in enumerate(given["shape"])])


def _slice(given: Inputs) -> Tensor:
    x: Tensor = given["x"]
    none = [False] * x.ndim
    free = zip(given.get("begin_mask", none), given.get("end_mask", none), strict=True)
    ends = zip(given["begin"], given["end"], given.get("stride", [1] * x.ndim), free, strict=True)
    squeezed = given.get("squeeze_mask", none)
    return x[
        tuple(
            begin if alone else slice(None if start else begin, None if to_end else end, step)
            for (begin, end, step, (start, to_end)), alone in zip(ends, squeezed, strict=True)
        )
    ]


def _pad(given: Inputs) -> Tensor:
    pairs = list(zip(given["pad"][::2], given["pad"][1::2], strict=True))
    sides = [side for pair in reversed(pairs) for side in pair]
    if given.get("mode", "constant") == "constant":
        return F.pad(given["x"], sides, value=float(given.get("constant_val", 0.0)))
    return F.pad(given["x"], sides, mode=given["mode"])


def _upsample(given: Inputs) -> Tensor:
    scale = (float(given["scale_factor_height"]), float(given["scale_factor_width"]))
    corners = bool(given.get("align_corners", True))
    return F.interpolate(given["x"], scale_factor=scale, mode="bilinear", align_corners=corners)


def _gelu(given: Inputs) -> Tensor:
    exact = given.get("mode", "EXACT") == "EXACT"
    return F.gelu(given["x"], approximate="none" if exact else "tanh")


def _reduced(of: Callable[..., Tensor]) -> Callable[[Inputs], Tensor]:
    return lambda given: of(given["x"], given["axes"], keepdim=bool(given.get("keep_dims", False)))


def _expanded(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


def _parts(given: Inputs) -> list[int]:
    if "split_sizes" in given:
        return list(given["split_sizes"])
    return [given["x"].shape[given["axis"]] // given["num_splits"]] * given["num_splits"]


OPERATIONS: dict[str, Callable[[Inputs], Any]] = {
    "conv": _conv,
    "linear": lambda given: F.linear(given["x"], given["weight"], given.get("bias")),
    "matmul": _matmul,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "reduce_mean": _reduced(torch.mean),
    "reduce_sum": _reduced(torch.sum),
    "add": lambda given: given["x"] + given["y"],
    "sub": lambda given: given["x"] - given["y"],
    "mul": lambda given: given["x"] * given["y"],
    "real_div": lambda given: given["x"] / given["y"],
    "relu": lambda given: F.relu(given["x"]),
    "relu6": lambda given: F.relu6(given["x"]),
    "clip": lambda given: given["x"].clamp(given["alpha"], given["beta"]),
    "thresholded_relu": lambda given: given["x"] * (given["x"] >= given["alpha"]),
    "sigmoid": lambda given: given["x"].sigmoid(),
    "sigmoid_hard": lambda given: (given["alpha"] * given["x"] + given["beta"]).clamp(0, 1),
    "silu": lambda given: F.silu(given["x"]),
    "gelu": _gelu,
    "softmax": lambda given: given["x"].softmax(given["axis"]),
    "reshape": _reshape,
    "transpose": lambda given: given["x"].permute(given["perm"]),
    "slice_by_index": _slice,
    "pad": _pad,
    "upsample_bilinear": _upsample,
    "expand_dims": lambda given: _expanded(given["x"], given["axes"]),
    "squeeze": lambda given: given["x"].squeeze(tuple(given["axes"])),
    "concat": lambda given: torch.cat(given["values"], given["axis"]),
    "split": lambda given: given["x"].split(_parts(given), given["axis"]),
}
