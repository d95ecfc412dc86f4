"""Rounds: ask for the truth about the most promising architectures, refit, go on.

A predictor fitted to uniform samples extrapolates where the front lies. A round proposes
architectures over the whole range of budgets, learns their true accuracy and cost, and adds them to
the table, which then knows the front's neighbourhood. In tables of MANY rows a second process
learns that (`corrected.py`); with fewer, each round fits one that learns how alike choices are
(`few_rows.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pnag.search.corrected import MANY, CorrectedProcess, Process, corrected
from pnag.search.few_rows import propose_of_few
from pnag.search.front import Floats, Front, FrontSettings, improve, pareto_front, with_mutants
from pnag.search.gaussian_process import GaussianProcess, fit_gaussian_process
from pnag.space import SearchSpace, Tokens, not_among

Ask = Callable[[Tokens], tuple[Floats, Floats]]
"""Tokens (N, T) to true accuracy (N,) and true cost (N,), or (N, C) of several."""

# Standard deviations added to a prediction, as the unknown may be better: of a process to which all
# choices are alike, and of one that has learnt which of them matter.
OPTIMISM, OPTIMISM_CORRECTED = 2.0, 3.0
SHORTLIST = 1200  # of the candidates, because the spread is expensive
MUTATION_RATE = 0.04  # of the predicted front, for further candidates
SEARCH = FrontSettings(rounds=25, children=2048, bins=300)


def propose(
    space: SearchSpace,
    process: Process,
    known: Tokens,
    front: Front,
    cost: Callable[[Tokens], Floats],
    n: int,
    seed: int,
) -> Tokens:
    """(n, T) architectures worth knowing the truth about, none of which is known already.

    Fewer if all that is near the front is known. Candidates are the predicted front and mutants of
    it. The cost range is cut into n parts; each proposes the candidate whose optimistic accuracy
    exceeds the front by most, and what is left is filled up with the best of all others.

    Args:
        process: of the accuracy. known: (M, T) the table.
        cost: predicted, of (N, T) tokens.
    """
    rng = np.random.default_rng(seed)
    times = 1 + 4 * n // len(front.cost)
    candidates = with_mutants(space, front.tokens, MUTATION_RATE, times, rng)
    candidates = not_among(candidates, known)
    if not len(candidates):
        return candidates
    costs = cost(candidates)
    gain = process.predict(candidates) - np.interp(costs, front.cost, front.accuracy)
    short = np.argsort(-gain)[: max(SHORTLIST, n)]
    candidates, costs = candidates[short], costs[short]
    optimism = OPTIMISM_CORRECTED if isinstance(process, CorrectedProcess) else OPTIMISM
    gain = gain[short] + optimism * process.spread(candidates)
    share = (costs - costs.min()) / max(np.ptp(costs), 1e-12)
    part = (share * n).astype(int).clip(0, n - 1)
    by_part = np.lexsort((-gain, part))
    _, first = np.unique(part[by_part], return_index=True)
    chosen = by_part[first]
    best_first = np.argsort(-gain)
    others = best_first[~np.isin(best_first, chosen)][: n - len(chosen)]
    proposed: Tokens = candidates[np.concatenate([chosen, others])]
    return proposed


def promising(
    space: SearchSpace,
    tokens: Tokens,
    accuracy: Floats,
    cost: Floats,
    cost_predictor: Callable[[Tokens], Floats],
    n: int,
    seed: int,
    *,
    from_rounds: int = 0,
    front: Tokens | None = None,
    noise: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tokens:
    """Up to (n, T) what a single round asks for.

    Args:
        tokens: (M, T), accuracy, cost: (M,): the table.
        from_rounds: how many of its last rows earlier rounds have asked for.
        front: (F, T) where to look first, beside the table's own front.
        noise: of the accuracy's Gaussian process; None finds it.
        progress: called with the steps done and their total.
    """
    if len(tokens) < MANY:
        progress(1, 1)
        return propose_of_few(space, tokens, accuracy, cost, cost_predictor, n, seed)
    first = len(tokens) - from_rounds
    first = first if first >= MANY else len(tokens)
    uniform = fit_gaussian_process(
        space, tokens[:first], accuracy[:first], noise=noise, seed=seed,
        progress=lambda done, total: progress(done, total + 1),
    )  # fmt: skip
    process = corrected(space, uniform, tokens[first:], accuracy[first:])
    start = pareto_front(tokens, accuracy, cost).tokens
    if front is not None:
        start = np.concatenate([start, front])
    asked, _ = _propose_from(start, space, process, tokens, cost, cost_predictor, n, seed)
    progress(1, 1)
    return asked


def ask_in_rounds(
    space: SearchSpace,
    tokens: Tokens,
    accuracy: Floats,
    cost: Floats,
    cost_predictor: Callable[[Tokens], Floats],
    ask: Ask,
    *,
    rounds: int,
    per_round: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Tokens, Floats, Floats]:
    """A table of N rows, grown by up to `rounds * per_round` rows of truth.

    Args:
        tokens: (N, T), accuracy: (N,), cost: (N,); in a space that can be listed (N, C) of several.
        cost_predictor: (N, T) tokens to predicted cost, of the same shape.
        ask: what knows the truth: a supernet, a device, a person.

    Returns:
        tokens, accuracy and cost of the grown table, the new rows last.

    Raises:
        ValueError: if `ask` returns anything but one finite accuracy and cost each, or for several
            costs where the space cannot be listed or MANY rows are known.
    """
    uniform: GaussianProcess | None = None
    first, front = 0, tokens[:0]
    for done in range(rounds):
        if len(tokens) < MANY:
            asked = propose_of_few(
                space, tokens, accuracy, cost, cost_predictor, per_round, seed + done
            )
        elif cost.ndim > 1:
            raise ValueError(f"rounds for several costs need a table of fewer than {MANY:,} rows")
        else:
            if uniform is None:
                first = len(tokens)
                uniform = fit_gaussian_process(space, tokens, accuracy, seed=seed)
            process = corrected(space, uniform, tokens[first:], accuracy[first:])
            # From the front predicted before as well: it may hold what this fit finds good.
            start = np.concatenate([pareto_front(tokens, accuracy, cost).tokens, front])
            asked, front = _propose_from(
                start, space, process, tokens, cost, cost_predictor, per_round, seed + done
            )
        if not len(asked):  # all of a small space is known
            break
        true_accuracy, true_cost = _checked(ask(asked), len(asked), cost.shape[1:])
        tokens = np.concatenate([tokens, asked])
        accuracy = np.concatenate([accuracy, true_accuracy])
        cost = np.concatenate([cost, true_cost])
        progress(done + 1, rounds)
    return tokens, accuracy, cost


def _propose_from(
    start: Tokens,
    space: SearchSpace,
    process: Process,
    tokens: Tokens,
    cost: Floats,
    cost_predictor: Callable[[Tokens], Floats],
    n: int,
    seed: int,
) -> tuple[Tokens, Tokens]:
    """What `propose` says, and the predicted front that it was given: a search from `start`."""

    def label(some: Tokens) -> tuple[Floats, Floats]:
        return process.predict(some), cost_predictor(some)

    costs = (float(cost.min()), float(cost.max()))
    front = improve(space, start, label, costs, SEARCH, seed=seed)
    return propose(space, process, tokens, front, cost_predictor, n, seed), front.tokens


def _checked(
    answered: tuple[Floats, Floats], n: int, costs: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """What `ask` returned for n architectures, if it is finite and of the right shapes."""
    for name, values, shape in (
        ("accuracies", answered[0], (n,)),
        ("costs", answered[1], (n, *costs)),
    ):
        if np.shape(values) != shape or not np.isfinite(values).all():
            raise ValueError(f"`ask` must return {n} finite {name}")
    return answered
