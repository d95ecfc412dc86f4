"""All settings of a run, in one validated object that is saved as `recipe.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from pnag.cost.runtimes import DEFAULT
from pnag.errors import PnagError
from pnag.families.registry import DEFAULT as OFA
from pnag.families.timm_networks import PREFIX
from pnag.files import write_text
from pnag.images.decode import MEGAPIXELS
from pnag.ranges import AS_WRITTEN, Interval
from pnag.run.budgets import check_units, read_budget
from pnag.run.run_directory import answer_name
from pnag.search.evaluator import EvaluatorSettings
from pnag.search.front import FrontSettings
from pnag.search.pnag import PnagSettings
from pnag.search.policy_gradient import GeneratorSettings
from pnag.search.predictor_fit import PredictorSettings
from pnag.search.vector_front import VectorSettings
from pnag.space.sharing import SHARED
from pnag.supernet.settings import FinetuneSettings, Precision, SupernetSettings

IMAGENET_RESOLUTIONS = (128, 160, 192, 224)  # that the predictor of ImageNet's top-1 knows
RESERVED = ("arch", "accuracy", "cost", "from")  # columns of a run's own tables


class _Strict(BaseModel):
    # Of the sections that are plain dataclasses, too.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LatencyRecipe(_Strict):
    """How this machine is measured."""

    runtime: str = DEFAULT
    threads: Annotated[int, Interval(ge=1, le=1024)] = 1
    adb: str | None = None  # serial number of the phone
    rounds: Annotated[int, Interval(ge=3, le=100_000)] = 24
    calibration: Annotated[int, Interval(ge=3, le=100_000)] = 48
    check: Annotated[int, Interval(ge=2, le=100_000)] = 50


class TableRecipe(_Strict):
    """A user's own table instead of ImageNet accuracies and this machine."""

    path: Path
    accuracy: str
    cost: str  # its own: `budgets` are of it
    further_costs: tuple[str, ...] = ()  # f takes budgets of these too
    family: str | None = None  # of its architectures
    choices: tuple[str, ...] = ()  # columns that are the architectures, of no family

    @model_validator(mode="after")
    def _names_of_their_own(self) -> TableRecipe:
        names = (self.accuracy.strip(), self.cost.strip(), *self.further_costs)
        for name in self.further_costs:
            if names.count(name) > 1:
                raise ValueError(f"column {name!r} is named twice; name each cost once")
            if name in RESERVED:
                raise ValueError(
                    f"a further cost cannot be called {name!r}: name that column first, or call it "
                    "otherwise in the table"
                )
        for name in self.choices:
            if self.choices.count(name) > 1 or name in names:
                raise ValueError(
                    f"column {name!r} is named twice; it is a choice, the accuracy or a cost"
                )
        if self.choices and self.family:
            raise ValueError(
                "a table's own choices belong to no family of networks; leave out choices or family"
            )
        return self


class ImagesRecipe(_Strict):
    """A user's own images; what is None is chosen by the images and this machine's speed."""

    source: str
    classes: Annotated[int, Interval(ge=2, le=1_000_000)] | None = None
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    max_megapixels: Annotated[float, Interval(gt=0, le=1_000_000)] = MEGAPIXELS
    cache: Path | None = None
    precision: Precision | None = None
    minutes: Annotated[float, Interval(gt=0, le=1_000_000)] = 120.0
    resolution: Annotated[int, Interval(ge=32, le=4096)] | None = None
    # published, timm/NAME, a run's directory, a supernet's file, scratch; None is published where
    # it can be had
    start: str | None = None
    weights: Path | None = None  # of the start timm/NAME, instead of those that timm publishes
    family: str | None = None  # by the name that `pnag families` lists
    resolutions: tuple[Annotated[int, Interval(ge=32, le=4096)], ...] | None = None
    width_mult: Annotated[float, Interval(ge=0.1, le=4)] | None = None
    epochs: Annotated[float, Interval(gt=0, le=1_000_000), AS_WRITTEN] | None = None
    architectures: Annotated[int, Interval(ge=20, le=1_000_000)] | None = None
    # drawn in groups of so many that begin alike (`sample_shared`); 1 draws each by itself
    shared: Annotated[int, Interval(ge=1, le=1_000_000)] = SHARED
    # from trained weights: whether each round trains the supernet before it judges
    train_in_rounds: bool = False
    finetune_epochs: Annotated[float, Interval(gt=0, le=1_000_000), AS_WRITTEN] | None = None
    # published networks that are fine-tuned beside each answer
    also_finetune: Annotated[int, Interval(ge=0, le=50)] = 0

    @model_validator(mode="before")
    @classmethod
    def _what_names_say(cls, values: Any) -> Any:
        """A name can say resolutions, `timm/NAME@96,128`, and a width; both have options, too."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for option in ("start", "family"):
            name = values.get(option)
            if not isinstance(name, str) or (option == "start" and not name.startswith(PREFIX)):
                continue
            values[option], _, pixels = name.partition("@")
            if pixels:
                _say(values, "resolutions", _numbers(pixels.split(",")), name)
            width = values[option].removeprefix(f"{OFA}-w")
            if option == "family" and width != values[option]:
                values["family"] = OFA
                (width_mult,) = _numbers([width])
                _say(values, "width_mult", width_mult, name)
        return values

    @model_validator(mode="after")
    def _one_or_several_resolutions(self) -> ImagesRecipe:
        if self.resolution and self.resolutions:
            raise ValueError(
                f"resolution ({self.resolution}) and resolutions ({list(self.resolutions)}) "
                "exclude each other; give one of them"
            )
        return self


def _numbers(texts: Sequence[str]) -> tuple[Any, ...]:
    """What can be read as numbers; the rest is refused where it is checked."""
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        return tuple(texts)


def _say(values: dict[str, Any], option: str, said: Any, name: str) -> None:
    """Take an option from a name, unless it is given as well."""
    known = values.get(option)
    if known == said or (isinstance(known, list | tuple) and [*known] == [*said]):
        return  # it says the same
    for given in (option, "resolution") if option == "resolutions" else (option,):
        if values.get(given) is not None:
            raise ValueError(
                f"{name} says {option.replace('_', '-')}, and {given.replace('_', '-')} is "
                f"{values[given]}; give one of them"
            )
    values[option] = said


class Recipe(_Strict):
    """One run. Numbers are the paper's (section E) unless their place says why not."""

    source: Literal["imagenet", "table", "images"] = "imagenet"
    table: TableRecipe | None = None
    images: ImagesRecipe | None = None
    supernet: SupernetSettings = SupernetSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    # whether ImageNet's answers get Once-for-All's weights, where these can be fetched
    published: bool = True
    # of ImageNet's images; those of own images are in `images`, and a table has none
    resolutions: tuple[Annotated[int, Interval(ge=32, le=4096)], ...] = IMAGENET_RESOLUTIONS
    architectures: Annotated[int, Interval(ge=100, le=1_000_000)] = 16000
    trained_budgets: Annotated[int, Interval(ge=2, le=1000)] = 10
    budgets: tuple[Annotated[float, Interval(gt=0)], ...] = ()
    rounds: Annotated[int, Interval(ge=0, le=100_000)] = 0
    per_round: Annotated[int, Interval(ge=1, le=100_000)] = 100
    latency: LatencyRecipe = LatencyRecipe()
    # of a budget, that answers leave free; None is the latency model's own error
    margin: Annotated[float, Interval(ge=0, lt=1)] | None = None
    # today's published networks that are timed beside the answers, at the most
    compare: Annotated[int, Interval(ge=0, le=1000)] = 12
    # of torch: sums over many rows round otherwise with another number; None takes torch's own
    torch_threads: Annotated[int, Interval(ge=1, le=1024)] | None = None
    # of a user's costs; blocks add up, so that the ridge regression has little to leave
    predictor: PredictorSettings = PredictorSettings(epochs=15, batch=256)
    evaluator: EvaluatorSettings = EvaluatorSettings()
    generator: GeneratorSettings = GeneratorSettings()
    front: FrontSettings = FrontSettings()
    vectors: VectorSettings = VectorSettings()  # of budgets, in a run of several costs

    @model_validator(mode="before")
    @classmethod
    def _one_resolution(cls, values: Any) -> Any:
        """`resolution: 224` of a recipe means that one alone."""
        if isinstance(values, dict) and "resolution" in values:
            values = dict(values)
            one = values.pop("resolution")
            if one is not None:
                values.setdefault("resolutions", (one,))
        return values

    @field_validator("resolutions")
    @classmethod
    def _that_accuracies_are_of(cls, resolutions: tuple[int, ...]) -> tuple[int, ...]:
        known = ", ".join(map(str, IMAGENET_RESOLUTIONS))
        if not resolutions or set(resolutions) - set(IMAGENET_RESOLUTIONS):
            raise ValueError(
                f"it must be some of {known}: the predictor of ImageNet's top-1 knows no other; "
                "networks of your own images take theirs from --resolutions with --images"
            )
        return tuple(sorted(set(resolutions)))

    @field_validator("budgets", mode="before")
    @classmethod
    def _as_written(cls, budgets: Any, others: ValidationInfo) -> Any:
        """`6ms` as 6: with units as on the command line."""
        if not isinstance(budgets, str | list | tuple):
            return budgets
        table = others.data.get("table")
        column = table.cost if table else None
        found = []
        for value in budgets.split(",") if isinstance(budgets, str) else budgets:
            budget = read_budget(value) if isinstance(value, str) else None
            if budget is not None:
                check_units({column or "latency": budget}, column)
            found.append(value if budget is None else budget.amount)
        return found

    @field_validator("budgets")
    @classmethod
    def _files_of_their_own(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        """Each once; two whose files would be called the same would take each other's results."""
        names: dict[str, float] = {}
        for budget in budgets:
            first = names.setdefault(answer_name(budget, ""), budget)
            if first != budget:
                raise ValueError(
                    f"{first!r} and {budget!r} are too close: the files of both would be called "
                    f"{answer_name(budget, '')}; leave one out"
                )
        return tuple(names.values())

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        for name, part in (("table", self.table), ("images", self.images)):
            if (self.source == name) != (part is not None):
                raise ValueError(
                    f"source is {self.source!r}, but {name} {'is' if part else 'is not'} given"
                )
        if self.images and self.images.also_finetune and not self.budgets:
            raise ValueError(
                f"--also-finetune is {self.images.also_finetune}: published networks are chosen "
                "for budgets before anything is trained; give --budgets"
            )
        if self.rounds and self.source == "imagenet":
            raise ValueError("rounds ask a table or the supernet of images; neither is given")
        return self


def load_recipe(path: Path) -> dict[str, Any]:
    """Read a YAML recipe, to be completed by the command line's options.

    Raises:
        PnagError: if it cannot be read or is not a mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PnagError(f"cannot read the recipe {path}: {error}") from error
    if not isinstance(raw, dict):
        raise PnagError(f"the recipe {path} is not a mapping of options")
    return raw


def make_recipe(values: dict[str, Any]) -> Recipe:
    """Validate a recipe.

    Raises:
        PnagError: names the option, its value and what is allowed.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise PnagError("bad recipe: " + "; ".join(map(_mistake, error.errors()))) from error


def _mistake(error: ErrorDetails) -> str:
    """One of pydantic's errors, with the option's name in full."""
    place = ".".join(map(str, error["loc"]))
    text = error["msg"].removeprefix("Value error, ")
    if not place:
        return text
    if isinstance(error["input"], dict):  # a section, of which the text names the option
        return f"{place}: {text}"
    return f"{place} is {error['input']!r}: {text}"


def with_images(recipe: Recipe, decided: dict[str, Any]) -> Recipe:
    """The recipe with what was left open about its images decided."""
    assert recipe.images is not None
    return recipe.model_copy(update={"images": recipe.images.model_copy(update=decided)})


def search_settings(recipe: Recipe) -> PnagSettings:
    """A recipe's settings of evaluator, generator and fronts."""
    return PnagSettings(
        recipe.trained_budgets, recipe.evaluator, recipe.generator, recipe.front, recipe.vectors
    )


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write exactly what runs."""
    write_text(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
