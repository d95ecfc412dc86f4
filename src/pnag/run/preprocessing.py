"""What goes into a network and comes out of it, and how a supernet's own file says so."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.imagenet_info import ImageNetInfo

from pnag.errors import PnagError
from pnag.families.checkpoints import described
from pnag.images.decode import INTERPOLATION, RESIZE

if TYPE_CHECKING:  # it imports `datasets`: seconds
    from pnag.images.images import ImageData


IMAGENET_CLASSES = 1000  # a supernet of as many, and from elsewhere, is taken for ImageNet's


def imagenet_classes() -> list[str]:
    """The names of ImageNet's 1000 classes, in the order of the labels."""
    info = ImageNetInfo()
    return [info.index_to_description(number) for number in range(IMAGENET_CLASSES)]


def imagenet_preprocessing(resolution: int, num_classes: int) -> dict[str, Any]:
    """ImageNet's mean, deviation and cropping; its classes' names if there are 1000."""
    numbers = [str(number) for number in range(num_classes)]
    return {
        "resolution": resolution,
        "shorter": round(resolution * RESIZE),
        "mean": list(IMAGENET_DEFAULT_MEAN),
        "std": list(IMAGENET_DEFAULT_STD),
        "interpolation": INTERPOLATION,
        "channels": "RGB",
        "layout": "NCHW",
        "classes": imagenet_classes() if num_classes == IMAGENET_CLASSES else numbers,
    }


def preprocessing_of(data: ImageData) -> dict[str, Any]:
    """What goes in and comes out of networks that were trained on these images."""
    how = asdict(data.preprocessing) | {"channels": "RGB", "layout": "NCHW"}
    return how | {"classes": list(data.classes)}


def normalised_by(data: ImageData, preprocessing: dict[str, Any]) -> ImageData:
    """The images as a network expects them that was trained on others of their kind.

    Args:
        preprocessing: the network's, whose `mean` and `std` take the place of the images' own.
    """
    mean, std = (tuple(preprocessing[name]) for name in ("mean", "std"))
    return replace(data, preprocessing=replace(data.preprocessing, mean=mean, std=std))


def expected_input(
    stated: dict[str, Any] | None, num_classes: int, resolution: int
) -> tuple[dict[str, Any], bool]:
    """What a supernet takes, and whether that is a guess.

    Args:
        stated: what its file says, by `supernet_preprocessing`. Without that a supernet of 1000
            classes is taken for ImageNet's, and of any other number nothing is known.
        resolution: in pixels, where the file says nothing.
    """
    how = stated or imagenet_preprocessing(resolution, num_classes)
    return how, stated is None and num_classes != IMAGENET_CLASSES


def supernet_preprocessing(path: Path, num_classes: int) -> dict[str, Any] | None:
    """What the file of a run's supernet says about its images; None for a file from elsewhere.

    Args:
        num_classes: of the supernet in the file.

    Raises:
        PnagError: if the file describes another supernet than it holds.
    """
    preprocessing: dict[str, Any] | None = described(path).get("preprocessing")
    if preprocessing is None:
        return None
    if len(preprocessing["classes"]) != num_classes:
        raise PnagError(
            f"{path} describes {len(preprocessing['classes'])} classes, but its weights have "
            f"{num_classes}; train it again, or take the file that `pnag train` wrote"
        )
    return preprocessing
