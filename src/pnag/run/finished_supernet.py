"""What a run's supernet was asked for, so that no other is trained in its place by accident.

The file of weights records it; until there is one, the plan's file does. A supernet costs hours, so
a run that is asked for another one stops instead of starting over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pnag.errors import PnagError
from pnag.families.checkpoints import described
from pnag.families.registry import DEFAULT, family, is_of, width_of
from pnag.files import read_json, write_json
from pnag.supernet.plan import SupernetPlan
from pnag.supernet.settings import Precision


@dataclass(frozen=True)
class Asked:
    """What a supernet is asked for; None is left to the plan.

    Attributes:
        images, start: identities of the images and of the weights. supernet: the recipe's settings,
            without what has a place here. resolutions: one, or those to choose among.
    """

    images: str
    supernet: dict[str, Any]
    seed: int
    minutes: float
    start: str
    family: str | None
    width_mult: float | None
    epochs: float | None
    precision: Precision | None
    resolutions: tuple[int, ...] | None = None


def finished_plan(path: Path, asked: Asked) -> SupernetPlan | None:
    """The plan that the supernet at `path` was trained by; None if there is no such file.

    Raises:
        PnagError: if it was asked for something else.
    """
    found = _parsed(described(path))
    if found is None:
        return None
    before, plan = found
    differences = list(_differences(before, plan, asked))
    if differences:
        raise PnagError(
            f"the trained supernet {path} was made with other settings: {'; '.join(differences)}; "
            "ask for the same, or choose another directory with --out"
        )
    return plan


def save_plan(path: Path, asked: Asked, plan: SupernetPlan) -> None:
    """Write what was asked for, and the plan that was made for it."""
    write_json(path, {"asked": asdict(asked), "plan": asdict(plan)})


def load_plan(path: Path) -> SupernetPlan:
    """The plan in a file of `save_plan`."""
    return SupernetPlan(**read_json(path)["plan"])


def refuse_another_training(begun: Path, plan: Path, asked: Asked) -> None:
    """Refuse to replace a training that was stopped by a different one.

    Args:
        begun: its folder of phases and checkpoints. plan: its file.

    Raises:
        PnagError: if it was asked for something else.
    """
    found = _parsed(read_json(plan)) if plan.exists() else None
    if found is None or not any(begun.glob("*.safetensors")):
        return
    differences = list(_differences(*found, asked))
    if differences:
        raise PnagError(
            f"the supernet whose training has begun in {begun} was asked for differently: "
            f"{'; '.join(differences)}; ask for the same to continue, or choose another "
            "directory with --out"
        )


def kept_precision(supernet: Path, plan: Path) -> Precision | None:
    """What a run's supernet is or was trained in, by its weights or else its plan's file."""
    found = _parsed(described(supernet)) or (_parsed(read_json(plan)) if plan.exists() else None)
    return found[1].precision if found else None


def begun_from_scratch(supernet: Path, phases: Path, plan: Path) -> bool:
    """Whether a run's supernet is trained, or its training begun, from fresh weights."""
    if not supernet.exists() and not any(phases.glob("*.safetensors")):
        return False
    found = _parsed(described(supernet)) or (_parsed(read_json(plan)) if plan.exists() else None)
    return found is not None and not found[0].start


def _parsed(about: Mapping[str, Any]) -> tuple[Asked, SupernetPlan] | None:
    try:
        return Asked(**about["asked"]), SupernetPlan(**about["plan"])
    except (KeyError, TypeError):
        return None  # damaged: trained again or taken from its phases


def _differences(before: Asked, plan: SupernetPlan, now: Asked) -> Iterator[str]:
    was = {**_flat("supernet", before.supernet), "seed": before.seed}
    wanted = {**_flat("supernet", now.supernet), "seed": now.seed}
    if before.start != now.start:
        yield "it started from other weights (--start)"
    if before.images != now.images:
        yield "the images, their classes or their resolution are others"
    # What was left open the first time was decided then.
    for name in ("epochs", "precision"):
        if getattr(now, name) is not None:
            was[name], wanted[name] = getattr(plan, name), getattr(now, name)
    if now.family is not None and not is_of(plan.family, now.family):
        was["family"], wanted["family"] = plan.family, now.family
    chosen_among = family(plan.family).space.resolutions
    if now.resolutions and (chosen_among or len(now.resolutions) > 1):  # one is the images' own
        was["resolutions"] = list(chosen_among)
        wanted["resolutions"] = sorted(now.resolutions)
    if now.width_mult is not None:
        was["width_mult"] = width_of(plan.family)
        wanted["width_mult"] = now.width_mult
    width_is_open = not now.start and now.width_mult is None and now.family in (None, DEFAULT)
    if width_is_open or now.epochs is None:
        was["minutes"], wanted["minutes"] = before.minutes, now.minutes
    for name, value in wanted.items():
        if was.get(name) != value:
            yield f"{name} was {was.get(name)}, now is {value}"


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: list(value) if isinstance(value, tuple) else value}
    return {k: v for key, inner in value.items() for k, v in _flat(f"{name}.{key}", inner).items()}
