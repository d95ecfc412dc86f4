"""The three parts of a set of images: which image goes into which."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pnag.errors import PnagError
from pnag.images.rows import Opened, Rows
from pnag.images.splits import hold_out

PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")

HELD_OUT = 0.2


def choose_classes(opened: Opened, classes: int | None, seed: int, source: str) -> Opened:
    """As many classes, drawn by the seed; all of them if None."""
    available = len(opened.classes)
    if available < 2:
        only = f"one class ({opened.classes[0]})" if opened.classes else "no images to train on"
        raise PnagError(f"{source} has {only}; add images of others: 2 classes are needed at least")
    if classes is None or classes == available:
        return opened
    if classes > available:
        raise PnagError(f"classes is {classes}, but {source} has {available}; choose fewer")
    chosen = np.sort(np.random.default_rng(seed).choice(available, classes, replace=False))
    parts = {}
    for name, rows in opened.parts.items():
        kept = rows.take(np.isin(rows.labels, chosen))
        parts[name] = Rows(kept.images, kept.ids, np.searchsorted(chosen, kept.labels))
    return Opened(tuple(opened.classes[c] for c in chosen), parts, opened.notes)


def split_parts(opened: Opened, seed: int, source: str) -> tuple[dict[str, Rows], list[str]]:
    """All three parts, and what a user should know about how they came about."""
    rng = np.random.default_rng(seed)
    notes = []
    parts = {name: rows for name, rows in opened.parts.items() if len(rows)}
    train = opened.parts["train"]
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        notes.append("there are no test images, so the validation images are the test part")
    elif "validation" in parts:
        notes.append("the source's own validation images are used; train is not split")
    # One image of each class for each part that is cut from train, and one that stays.
    needed = 1 + ("test" not in parts) + ("validation" not in parts)
    counts = np.bincount(train.labels, minlength=len(opened.classes))
    if counts.min() < needed:
        worst = int(counts.argmin())
        raise PnagError(
            f"{source}: class {opened.classes[worst]!r} has {counts[worst]} image(s) to train on, "
            f"and splitting them takes at least {needed}; add images, or leave the class out"
        )
    for name in ("test", "validation"):
        if name in parts:
            continue
        out = hold_out(train.labels, HELD_OUT, rng)
        parts[name], train = train.take(out), train.take(~out)
        if name == "test":
            notes.append(f"there are no test images, so {HELD_OUT:.0%} of each class are held out")
    return parts | {"train": train}, notes
