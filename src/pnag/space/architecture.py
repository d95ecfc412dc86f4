"""One architecture, as an immutable value with a text form.

`Architecture` is of the MobileNetV3 space; those of other families are `BaseArchitecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pnag.errors import BadValueError

UNITS = 5
MAX_DEPTH = 4
DEPTHS = (2, 3, 4)
WIDTHS = (3, 4, 6)
KERNELS = (3, 5, 7)


@dataclass(frozen=True, order=True)
class BaseArchitecture:
    """An architecture of any family: depths, then kernel size and width of each layer position.

    The family's space says which numbers are allowed (`SearchSpace.encode`).

    Args:
        depths: one number a unit.
        kernels: one number for each layer that a unit can have; 0 where the layer does not exist.
        widths: the same.
        resolution: of the images, in pixels, where architectures choose it; else 0.
    """

    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    widths: tuple[int, ...]
    resolution: int = 0

    @classmethod
    def parse(cls, value: str | Mapping[str, Any]) -> Self:
        """Read the text form `d:k:e`: three comma lists of whole numbers, `d:k:e@192` with pixels.

        Raises:
            BadValueError: (a ValueError) names the place that is wrong.
        """
        if isinstance(value, Mapping) and "arch" in value:
            value = value["arch"]
        if not isinstance(value, str):
            raise BadValueError(f"an architecture must be a text 'd:k:e', not {value!r}")
        return cls._parse_text(value)

    @classmethod
    def _parse_text(cls, text: str) -> Self:
        lists = text.strip().partition("@")[0].split(":")
        if len(lists) != 3:
            raise BadValueError(
                f"architecture {text!r} must have 3 parts between ':', which are "
                f"depths:kernels:widths, not {len(lists)}"
            )
        parsed = []
        for name, numbers in zip(("depths", "kernels", "widths"), lists, strict=True):
            values = []
            for place, number in enumerate(numbers.split(",")):
                # str.isdecimal alone would let other scripts' digits through to int()
                if not (number.strip().isascii() and number.strip().isdecimal()):
                    raise BadValueError(
                        f"number {place + 1} of the {name} in {text!r} must be a whole "
                        f"number, not {number!r}"
                    )
                values.append(int(number))
            parsed.append(tuple(values))
        pixels = text.partition("@")[2].strip()
        if "@" in text and not (pixels.isascii() and pixels.isdecimal() and int(pixels)):
            raise BadValueError(
                f"the resolution in {text!r} must be a whole number of pixels, not {pixels!r}"
            )
        try:
            depths, kernels, widths = parsed
            return cls(depths, kernels, widths, int(pixels or 0))
        except BadValueError as error:
            raise BadValueError(f"architecture {text!r}: {error}") from None

    def __str__(self) -> str:
        lists = (self.depths, self.kernels, self.widths)
        text = ":".join(",".join(map(str, values)) for values in lists)
        return f"{text}@{self.resolution}" if self.resolution else text


@dataclass(frozen=True, order=True)
class Architecture(BaseArchitecture):
    """Depth of each unit, then kernel size and width (expand ratio) of each layer position.

    A unit has four positions; the ones beyond its depth do not exist and hold 0.

    Args:
        depths: 5 numbers out of 2, 3, 4.
        kernels: 20 numbers (4 a unit) out of 3, 5, 7; 0 where the layer does not exist.
        widths: 20 numbers (4 a unit) out of 3, 4, 6; 0 where the layer does not exist.

    Raises:
        BadValueError: (a ValueError) for any number that is not allowed at its place; the message
            names the place and the allowed values.
    """

    def __post_init__(self) -> None:
        _check_length("depths", self.depths, UNITS)
        _check_length("kernels", self.kernels, UNITS * MAX_DEPTH)
        _check_length("widths", self.widths, UNITS * MAX_DEPTH)
        for unit, depth in enumerate(self.depths):
            if depth not in DEPTHS:
                raise BadValueError(
                    f"depth of unit {unit + 1} must be one of {_list(DEPTHS)}, not {depth}"
                )
            for layer in range(MAX_DEPTH):
                position = unit * MAX_DEPTH + layer
                for what, values, allowed in (
                    ("kernel", self.kernels, KERNELS),
                    ("width", self.widths, WIDTHS),
                ):
                    value = values[position]
                    if layer >= depth and value != 0:
                        raise BadValueError(
                            f"{what} of unit {unit + 1} layer {layer + 1} is {value}, but the unit "
                            f"has depth {depth}: a layer that does not exist must have 0"
                        )
                    if layer < depth and value not in allowed:
                        raise BadValueError(
                            f"{what} of unit {unit + 1} layer {layer + 1} must be one of "
                            f"{_list(allowed)}, not {value}"
                        )

    @classmethod
    def parse(cls, value: str | Mapping[str, Any]) -> Self:
        """Read the text form `d:k:e`: three comma lists with 5, 20 and 20 whole numbers.

        Also a mapping with `ks`, `e` and `d`, or the text of one, as other programs write it:
        `pnag.space.notation`. There, numbers of layers that do not exist count for nothing.

        Raises:
            BadValueError: (a ValueError) names the place that is wrong and the allowed values.
        """
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            return cls._parse_text(value)
        from pnag.space.notation import parts_of, spelled_out  # which knows this module

        if isinstance(value, str):
            value = parts_of(value)
        if not isinstance(value, Mapping):
            raise BadValueError(f"an architecture must be a text 'd:k:e', not {value!r}")
        if "arch" in value:
            return cls.parse(value["arch"])
        depths, kernels, widths = spelled_out(value)
        return cls(depths, kernels, widths)


AnyArchitecture = BaseArchitecture | str | Mapping[str, Any]
"""An architecture, or anything that its `parse` reads."""


def _check_length(name: str, values: tuple[int, ...], length: int) -> None:
    if len(values) != length:
        raise BadValueError(f"there must be {length} {name}, not {len(values)}")


def _list(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))
