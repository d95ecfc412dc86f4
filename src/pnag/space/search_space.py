"""A search space made of token choices, worked on in batches of integer arrays.

A batch of N architectures is an int8 array of shape (N, T): for each of the T tokens the *index* of
its choice, and -1 (`ABSENT`) where the token does not exist. Everything in `pnag.search` sees only
these arrays, so another family of networks needs another list of tokens and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pnag.errors import BadValueError
from pnag.space.architecture import (
    DEPTHS,
    KERNELS,
    MAX_DEPTH,
    UNITS,
    WIDTHS,
    AnyArchitecture,
    Architecture,
    BaseArchitecture,
)

ABSENT = -1
Tokens = NDArray[np.int8]


What = Literal["resolution", "depth", "kernel", "width"]


@dataclass(frozen=True)
class Token:
    """One decision: its choices and, if it depends on an earlier decision, when it exists.

    It exists always when `parent` is -1, else where the parent's chosen index is at least
    `needs`. A parent always exists (one level of conditions is enough for every known family).

    Attributes:
        what: the list of an architecture that it is in, and `place`: where in that list; None in
            spaces whose architectures have no text form.
    """

    name: str
    choices: tuple[int, ...]
    parent: int = -1
    needs: int = 0
    what: What | None = None
    place: int = -1


@dataclass(frozen=True)
class Unit:
    """The choices of one unit of a family of networks, each list ascending.

    Attributes:
        depths: numbers of layers. widths, kernels: of each layer position.
    """

    depths: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


MOBILENETV3_UNITS = (Unit(DEPTHS, (WIDTHS,) * MAX_DEPTH, (KERNELS,) * MAX_DEPTH),) * UNITS


def tokens_of(units: Sequence[Unit], resolutions: Sequence[int] = ()) -> tuple[Token, ...]:
    """For each unit: depth, then width and kernel of each layer (the design's sequence).

    Args:
        resolutions: to choose among, ascending; their token is the first.
    """
    tokens: list[Token] = []
    if resolutions:
        tokens.append(Token("resolution", tuple(resolutions), what="resolution", place=0))
    position = 0
    for number, unit in enumerate(units):
        parent = len(tokens)
        tokens.append(Token(f"unit{number + 1}.depth", unit.depths, what="depth", place=number))
        for layer, (widths, kernels) in enumerate(zip(unit.widths, unit.kernels, strict=True)):
            # Layer l (from 0) exists if the depth is at least l + 1.
            needs = next(i for i, depth in enumerate(unit.depths) if depth > layer)
            name = f"unit{number + 1}.layer{layer + 1}"
            tokens.append(Token(f"{name}.width", widths, parent, needs, "width", position))
            tokens.append(Token(f"{name}.kernel", kernels, parent, needs, "kernel", position))
            position += 1
    return tuple(tokens)


def mobilenetv3_tokens() -> tuple[Token, ...]:
    """The tokens of the MobileNetV3 space."""
    return tokens_of(MOBILENETV3_UNITS)


def not_among(tokens: Tokens, known: Tokens) -> Tokens:
    """The (N, T) architectures that are not among (M, T) known ones, in their order."""
    seen = {row.tobytes() for row in known}
    return tokens[[row.tobytes() not in seen for row in tokens]]


@dataclass(frozen=True)
class SearchSpace:
    """All architectures that a list of tokens can spell; by default the MobileNetV3 space.

    Only `encode`, `decode` and `text` speak of architectures; all else is general.

    Attributes:
        architecture: the class of what the tokens spell.
    """

    tokens: tuple[Token, ...] = mobilenetv3_tokens()
    architecture: type[BaseArchitecture] = Architecture

    @cached_property
    def size(self) -> int:
        """Exact number of architectures: (81 + 729 + 6561)^5 = 7371^5 for MobileNetV3."""
        children: dict[int, list[Token]] = {}
        for token in self.tokens:
            if token.parent >= 0:
                children.setdefault(token.parent, []).append(token)
        total = 1
        for column, token in enumerate(self.tokens):
            if token.parent < 0:
                total *= sum(
                    math.prod(len(c.choices) for c in children.get(column, []) if index >= c.needs)
                    for index in range(len(token.choices))
                )
        return total

    @cached_property
    def choices_per_token(self) -> NDArray[np.int64]:
        """(T,) number of choices of each token."""
        return np.array([len(token.choices) for token in self.tokens])

    @cached_property
    def num_features(self) -> int:
        """Length of the one-hot features: the sum of all tokens' choices (135)."""
        return int(self.choices_per_token.sum())

    def exists(self, tokens: Tokens) -> NDArray[np.bool_]:
        """(N, T) whether each token exists, decided by the parents' values in `tokens`."""
        parents = np.array([max(token.parent, 0) for token in self.tokens])
        needs = np.array([token.needs if token.parent >= 0 else -128 for token in self.tokens])
        return tokens[:, parents] >= needs

    def canonical(self, tokens: Tokens) -> Tokens:
        """(N, T) with ABSENT put wherever a token does not exist."""
        return np.where(self.exists(tokens), tokens, ABSENT).astype(np.int8)

    def check(self, tokens: Tokens) -> Tokens:
        """Return `tokens` as int8 if they spell architectures of this space.

        Raises:
            ValueError: on a wrong shape, a choice out of range, or a missing or extra token.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.shape[1] != len(self.tokens):
            raise ValueError(
                f"tokens must have the shape (N, {len(self.tokens)}), not {tokens.shape}"
            )
        bad = (tokens >= self.choices_per_token) | ((tokens >= 0) != self.exists(tokens))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            token = self.tokens[column]
            raise ValueError(
                f"row {row}: token {token.name} must be 0 to {len(token.choices) - 1} where it "
                f"exists, else {ABSENT}, not {tokens[row, column]}"
            )
        return tokens.astype(np.int8)

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """(n, T) architectures with every setting uniform over its choices, as the paper samples.

        This is uniform over settings, not over architectures: each depth is equally likely
        although deeper units have many more variants.
        """
        settings = rng.integers(0, self.choices_per_token, size=(n, len(self.tokens)))
        return self.canonical(settings.astype(np.int8))

    def sample_unique(self, n: int, rng: np.random.Generator) -> Tokens:
        """(n, T) different architectures, in the order in which `sample` first draws them.

        Raises:
            ValueError: if the space holds fewer than `n`.
        """
        if n > self.size:
            raise ValueError(f"the space has {self.size} different architectures, fewer than {n}")
        batch = self.sample(n, rng)
        while True:
            _, first = np.unique(batch, axis=0, return_index=True)
            batch = batch[np.sort(first)]
            if len(batch) >= n:
                return batch[:n]
            batch = np.concatenate([batch, self.sample(n, rng)])

    def everything(self) -> Tokens:
        """(size, T) every architecture once; only for spaces small enough to list."""
        rows = np.zeros((1, 0), np.int8)
        for token in self.tokens:
            exists = np.full(len(rows), True)
            if token.parent >= 0:
                exists = rows[:, token.parent] >= token.needs
            with_it, without = rows[exists], rows[~exists]
            choices = np.arange(len(token.choices), dtype=np.int8)
            chosen = np.tile(choices, len(with_it))
            absent = np.full(len(without), ABSENT, np.int8)
            rows = np.concatenate(
                [
                    np.column_stack([with_it.repeat(len(choices), axis=0), chosen]),
                    np.column_stack([without, absent]),
                ]
            )
        return rows

    def sample_stretched(self, n: int, rng: np.random.Generator) -> Tokens:
        """(n, T) architectures from the smallest to the largest.

        Each architecture has its own leaning, from always the first to always the last choice.
        Uniform samples all lie near the middle of the cost range; searches look at its ends too.
        """
        leaning = (np.arange(n)[:, None] + 0.5) / n
        settings = rng.binomial(self.choices_per_token - 1, leaning, size=(n, len(self.tokens)))
        return self.canonical(settings.astype(np.int8))

    def mutate(self, tokens: Tokens, rate: float, rng: np.random.Generator) -> Tokens:
        """(N, T) children: each setting is redrawn with probability `rate`.

        Tokens that come into being because a depth grew are drawn uniformly.
        """
        fresh = rng.integers(0, self.choices_per_token, size=tokens.shape).astype(np.int8)
        redraw = (rng.random(tokens.shape) < rate) | (tokens == ABSENT)
        return self.canonical(np.where(redraw, fresh, tokens))

    def crossover(self, first: Tokens, second: Tokens, rng: np.random.Generator) -> Tokens:
        """(N, T) children that take each setting from one of two parents, at even odds.

        If the chosen parent has no token that the child needs, the other one has.
        """
        take_first = rng.random(first.shape) < 0.5
        child = np.where(take_first, first, second)
        other = np.where(take_first, second, first)
        return self.canonical(np.where(child == ABSENT, other, child))

    def features(self, tokens: Tokens) -> NDArray[np.float32]:
        """(N, num_features) one-hot of every token's choice; zeros where a token does not exist."""
        n = len(tokens)
        offsets = np.concatenate([[0], np.cumsum(self.choices_per_token)[:-1]])
        features = np.zeros((n, self.num_features), dtype=np.float32)
        rows, columns = np.nonzero(tokens >= 0)
        features[rows, offsets[columns] + tokens[rows, columns]] = 1.0
        return features

    def values(self, tokens: Tokens) -> NDArray[np.int64]:
        """(N, T) the chosen values themselves (a depth, an expand ratio, a kernel); 0 if absent."""
        width = max(len(token.choices) for token in self.tokens)
        table = np.zeros((len(self.tokens), width + 1), dtype=np.int64)
        for column, token in enumerate(self.tokens):
            table[column, : len(token.choices)] = token.choices
        # index -1 (ABSENT) picks the last column, which holds 0
        return table[np.arange(len(self.tokens)), tokens]

    # --- tokens as architectures ----------------------------------------------------------------

    @cached_property
    def columns(self) -> dict[What, NDArray[np.int64]]:
        """For each list of an architecture, the column of the token at each of its places."""
        found: dict[What, dict[int, int]] = {
            "resolution": {}, "depth": {}, "kernel": {}, "width": {}
        }  # fmt: skip
        for column, token in enumerate(self.tokens):
            if token.what is not None:
                found[token.what][token.place] = column
        return {
            what: np.array([places[place] for place in sorted(places)], dtype=np.int64)
            for what, places in found.items()
        }

    def decode(self, tokens: Tokens) -> list[Any]:
        """The N architectures (of the class `architecture`) that (N, T) tokens spell."""
        values = self.values(tokens)
        lists = [
            values[:, self.columns[what]].tolist()
            for what in ("depth", "kernel", "width", "resolution")
        ]
        return [
            self.architecture(tuple(d), tuple(k), tuple(w), *r)
            for d, k, w, r in zip(*lists, strict=True)
        ]

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Those that architectures choose among; none where there is one for all."""
        columns = self.columns["resolution"]
        return self.tokens[columns[0]].choices if len(columns) else ()

    def with_resolutions(self, resolutions: Sequence[int]) -> SearchSpace:
        """The same space with these resolutions to choose among, whatever it had before."""
        before = len(self.columns["resolution"])
        moved = [
            replace(token, parent=token.parent + 1 - before if token.parent >= 0 else -1)
            for token in self.tokens[before:]
        ]
        return replace(self, tokens=(*tokens_of((), resolutions), *moved))

    def resolution_ids(self, tokens: Tokens) -> NDArray[np.int64]:
        """(N,) the place of each architecture's resolution in `resolutions`, else 0."""
        columns = self.columns["resolution"]
        found = tokens[:, columns[0]] if len(columns) else np.zeros(len(tokens))
        return found.astype(np.int64)

    def parse(self, item: AnyArchitecture) -> Any:
        """One architecture (of the class `architecture`) of this space.

        Raises:
            BadValueError: (a ValueError) as `encode`.
        """
        return self.decode(self.encode([item]))[0]

    def encode(self, architectures: Iterable[AnyArchitecture]) -> Tokens:
        """(N, T) tokens of architectures, given as objects or in any form that is read.

        Raises:
            BadValueError: (a ValueError) for a malformed text, or for an architecture that this
                space does not hold: names the token, its value and its choices.
        """
        lengths = {what: len(columns) for what, columns in self.columns.items()}
        rows = []
        for number, item in enumerate(architectures):
            arch = item if isinstance(item, BaseArchitecture) else self.architecture.parse(item)
            lists: dict[What, tuple[int, ...]] = {
                "resolution": (arch.resolution,) if arch.resolution else (),
                "depth": arch.depths, "kernel": arch.kernels, "width": arch.widths,
            }  # fmt: skip
            if bool(arch.resolution) != bool(self.resolutions):
                pixels = ", ".join(map(str, self.resolutions))
                raise BadValueError(
                    f"architecture {number + 1} is of {arch.resolution} pixels, and this search "
                    "space has no resolutions to choose among: leave out @"
                    if arch.resolution
                    else f"architecture {number + 1} lacks its resolution: add @ and one of "
                    f"{pixels}"
                )
            for what, values in lists.items():
                if len(values) != lengths[what]:
                    raise BadValueError(
                        f"architecture {number + 1}: this search space takes "
                        f"{lengths[what]} {what}s, not {len(values)}"
                    )
            rows.append([value for what in self.columns for value in lists[what]])
        order = np.concatenate(list(self.columns.values()))
        chosen = np.zeros((len(rows), len(self.tokens)), dtype=np.int64)
        try:
            chosen[:, order] = np.array(rows, dtype=np.int64).reshape(-1, len(order))
        except OverflowError as error:
            most = max(value for row in rows for value in row)
            raise BadValueError(f"no architecture has a {most} in it") from error
        tokens = np.full(chosen.shape, ABSENT, dtype=np.int8)
        for column, token in enumerate(self.tokens):
            for index, choice in enumerate(token.choices):
                tokens[chosen[:, column] == choice, column] = index
        exists = self.exists(tokens)
        unknown = np.where(exists, tokens == ABSENT, chosen != 0)
        if unknown.any():
            number, column = np.argwhere(unknown)[0]
            token, value = self.tokens[column], chosen[number, column]
            allowed = (
                ", ".join(map(str, token.choices)) if exists[number, column] else "0 (no layer)"
            )
            raise BadValueError(
                f"architecture {number + 1}: {token.name} is {value}, and this search space has "
                f"{allowed}"
            )
        return tokens

    def text(self, tokens: Tokens) -> list[str]:
        """The N text forms."""
        return [str(architecture) for architecture in self.decode(tokens)]
