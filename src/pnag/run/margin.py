"""The part of a budget that an answer leaves free, so that it holds the budget when it is timed."""

from __future__ import annotations

from pnag.cost.latency_model import error_quantile
from pnag.files import read_json
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import Answer, answer, answer_at
from pnag.search.front import Front
from pnag.space import SearchSpace

# Of the check networks, that are off by no more than the margin. Half of the others are faster than
# predicted, so that 95 % hold.
SHARE = 0.9


def margin_of(run: RunDirectory, asked: float | None) -> float:
    """How much longer than predicted answers may take and still hold their budget, as a fraction.

    What is asked for, or else what the latency model's own error is within for 90 % of the
    networks that it was checked on. 0 where no device was measured.
    """
    if asked is not None:
        return asked
    if run.cost_model != run.latency_model or not run.latency_error.exists():
        return 0.0
    error = read_json(run.latency_error)
    return error_quantile(error["predicted_ms"], error["measured_ms"], SHARE)


def answer_with_margin(
    front: Front, space: SearchSpace, budget: float, margin: float, unit: str = ""
) -> Answer:
    """The most accurate architecture that holds a budget even if it takes `margin` longer.

    A budget that even the cheapest architecture holds without the margin only is answered by that.

    Raises:
        PnagError: as `answer`.
    """
    whole = answer(front, space, budget, unit)
    index = front.best(budget / (1 + margin))
    note = whole.note if budget / (1 + margin) > 1.02 * front.cost[-1] else ""
    if index is None:
        index = 0
        note = (
            f"budget {budget:g}{unit} is less than {margin:.1%} above the cheapest architecture's "
            f"cost ({front.cost[0]:.4g}{unit}), which is how far the prediction may be off"
        )
    return answer_at(front, space, index, budget, note)
