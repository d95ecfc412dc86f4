"""Rounds: ask for the truth about the most promising architectures, refit, go on.

A predictor fitted to uniform samples extrapolates where the front lies. A round proposes
architectures over the whole range of budgets, learns their true accuracy and cost, and adds them to
the table: the Gaussian process then knows the front's neighbourhood.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pnag.search.front import Floats, Front, FrontSettings, improve, pareto_front
from pnag.search.gaussian_process import GaussianProcess, fit_gaussian_process
from pnag.space import SearchSpace, Tokens

Ask = Callable[[Tokens], tuple[Floats, Floats]]
"""Tokens (N, T) to true accuracy (N,) and true cost (N,)."""

OPTIMISM = 2.0  # standard deviations added to a prediction: the unknown may be better
SHORTLIST = 1200  # of the candidates, for the spread is dear
SEARCH = FrontSettings(rounds=25, children=2048, bins=300)


def propose(
    space: SearchSpace,
    process: GaussianProcess,
    known: Tokens,
    front: Front,
    cost: Callable[[Tokens], Floats],
    n: int,
    seed: int,
) -> Tokens:
    """(n, T) architectures worth knowing the truth about, none of which is known already.

    Candidates are the predicted front and mutants of it. The cost range is cut into n parts; each
    proposes the candidate whose optimistic accuracy exceeds the front by most, and what is left is
    filled up with the best of all others.

    Args:
        process: of the accuracy, with its factor. known: (M, T) the table.
        cost: predicted, of (N, T) tokens.
    """
    rng = np.random.default_rng(seed)
    seen = {row.tobytes() for row in known}
    mutants = [space.mutate(front.tokens, 0.04, rng) for _ in range(1 + 4 * n // len(front.cost))]
    candidates = np.unique(np.concatenate([front.tokens, *mutants]), axis=0)
    candidates = candidates[[row.tobytes() not in seen for row in candidates]]
    costs = cost(candidates)
    gain = process.predict(candidates) - np.interp(costs, front.cost, front.accuracy)
    short = np.argsort(-gain)[: max(SHORTLIST, n)]
    candidates, costs = candidates[short], costs[short]
    gain = gain[short] + OPTIMISM * process.spread(candidates)
    share = (costs - costs.min()) / max(np.ptp(costs), 1e-12)
    part = (share * n).astype(int).clip(0, n - 1)
    by_part = np.lexsort((-gain, part))
    _, first = np.unique(part[by_part], return_index=True)
    chosen = by_part[first]
    best_first = np.argsort(-gain)
    others = best_first[~np.isin(best_first, chosen)][: n - len(chosen)]
    proposed: Tokens = candidates[np.concatenate([chosen, others])]
    return proposed


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
        tokens: (N, T), accuracy: (N,), cost: (N,).
        cost_predictor: (N, T) tokens to predicted cost (N,).
        ask: what tells the truth: a supernet, a device, a person.

    Returns:
        tokens, accuracy and cost of the grown table, the new rows last.

    Raises:
        ValueError: if `ask` returns anything but one finite accuracy and cost each.
    """
    process = fit_gaussian_process(space, tokens, accuracy, seed=seed)
    start = pareto_front(tokens, accuracy, cost).tokens
    for done in range(rounds):

        def label(t: Tokens, process: GaussianProcess = process) -> tuple[Floats, Floats]:
            return process.predict(t), cost_predictor(t)

        costs = (float(cost.min()), float(cost.max()))
        front = improve(space, start, label, costs, SEARCH, seed=seed + done)
        asked = propose(space, process, tokens, front, cost_predictor, per_round, seed + done)
        true_accuracy, true_cost = ask(asked)
        for name, values in (("accuracies", true_accuracy), ("costs", true_cost)):
            if np.shape(values) != (len(asked),) or not np.isfinite(values).all():
                raise ValueError(f"`ask` must return {len(asked)} finite {name}")
        tokens = np.concatenate([tokens, asked])
        accuracy = np.concatenate([accuracy, true_accuracy])
        cost = np.concatenate([cost, true_cost])
        process = process.extended(asked, true_accuracy)
        # From the predicted front as well: it may hold what the next fit finds good.
        start = np.concatenate([pareto_front(tokens, accuracy, cost).tokens, front.tokens])
        progress(done + 1, rounds)
    return tokens, accuracy, cost
