"""The recipe that the options of `pnag run` and `pnag train` ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pnag.commands.options import (
    parse_budgets,
    parse_columns,
    parse_compare,
    parse_resolutions,
)
from pnag.errors import PnagError
from pnag.run.recipe import load_recipe

OF_IMAGES = (
    "classes", "on_corrupt", "max_megapixels", "cache", "minutes", "start", "weights", "family",
    "resolution", "resolutions", "width_mult", "epochs", "finetune_epochs", "train_in_rounds",
    "also_finetune",
)  # fmt: skip
OF_DEVICE = ("runtime", "threads", "adb")
OF_RUN = ("rounds", "per_round", "seed", "margin")


def asked_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values: those in the file of --recipe, completed with the other options.

    Args:
        given: what was given of the options, by their names.

    Raises:
        PnagError: for options that do not go together, or that cannot be read.
    """
    values: dict[str, Any] = load_recipe(given["recipe"]) if "recipe" in given else {}
    _table_values(values, given)
    _image_values(values, given)
    if "budgets" in given:
        cost = _section(values, "table").get("cost")
        values["budgets"] = parse_budgets(given["budgets"], cost if isinstance(cost, str) else None)
    if "architectures" in given:
        if values.get("source") == "table":
            raise PnagError(
                "--architectures is how many a table gets that is made, and yours is there; leave "
                "it out"
            )
        place = values["images"] if values.get("source") == "images" else values
        place["architectures"] = given["architectures"]
    values |= _some(given, OF_RUN)
    source = values.get("source", "imagenet")
    if given.get("ray_address") and source != "images":
        raise PnagError("--ray-address is for --images, which is not given; leave it out")
    if "published" in given:
        if source != "imagenet":
            raise PnagError("--published and --untrained are for runs on ImageNet; leave them out")
        values["published"] = given["published"]
    if "compare" in given:
        values["compare"] = parse_compare(given["compare"], source)
    _latency_values(values, _some(given, OF_DEVICE))
    return values


def _some(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a recipe that options complete."""
    section = values.get(name) or {}
    if not isinstance(section, dict):
        raise PnagError(
            f"{name} in the recipe must hold options such as `name: value`, not {section!r}"
        )
    return dict(section)


def _table_values(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Complete a recipe's values with the options that go with --table."""
    table, accuracy, cost = (given.get(name) for name in ("table", "accuracy", "cost"))
    if table is None:
        if accuracy or cost or given.get("choices"):
            raise PnagError(
                "--accuracy, --cost and --choices name columns of --table, which is not given"
            )
        return
    costs = parse_columns(cost)
    if not accuracy or not costs:
        raise PnagError("give --accuracy COLUMN and --cost COLUMN with --table")
    if "images" in given:
        raise PnagError("--images and --table are two ways to start; give one of them")
    values["source"] = "table"
    values["table"] = {
        "path": table,
        "accuracy": accuracy,
        "cost": costs[0],
        "further_costs": costs[1:],
        "family": given.get("family"),
        "choices": parse_columns(given.get("choices")),
    }


def _image_values(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Complete a recipe's values with the options that go with --images."""
    options, images = _some(given, OF_IMAGES), given.get("images")
    if "table" in given:
        options.pop("family", None)  # of the table
    if "resolutions" in options:
        options["resolutions"] = parse_resolutions(options["resolutions"])
    if images is not None:
        values["source"] = "images"
        if not images.strip():
            raise PnagError("--images is empty; name a folder, Parquet files or a data set")
        values["images"] = _section(values, "images") | {"source": images}
    if values.get("source") != "images":
        if "source" not in _section(values, "images"):
            values.pop("images", None)  # a recipe's defaults for runs on images, which this is not
        if values.get("source", "imagenet") == "imagenet" and "resolutions" in options:
            values["resolutions"] = options.pop("resolutions")
        if options or given.get("train_method"):
            first = next(iter(options), "train_method").replace("_", "-")
            raise PnagError(f"--{first} goes with --images, which is not given")
        return
    values["images"] = _section(values, "images") | options
    if "train_method" in given:
        values["supernet"] = _section(values, "supernet") | {"method": given["train_method"]}
    values.setdefault("rounds", 4)
    values.setdefault("per_round", 50)


def _latency_values(values: dict[str, Any], options: dict[str, Any]) -> None:
    """Complete a recipe's values with the options that name a device."""
    if options and values.get("source") == "table":
        raise PnagError(
            f"--{next(iter(options))} is for measuring a device, and the table has its own costs; "
            "leave it out"
        )
    if options:
        values["latency"] = _section(values, "latency") | options
