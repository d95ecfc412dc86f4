"""What a table of answers shows, for the terminal and for the page alike."""

from __future__ import annotations

from typing import Any


def answer_header(metrics: dict[str, Any]) -> list[str]:
    """Names of the columns."""
    timed = "proof" in metrics
    header = ["budget", "top-1 (predicted)" if timed else "accuracy (predicted)"]
    header += ["top-1 (test)"] if metrics["source"] == "images" else []
    header += ["ms (predicted)" if timed else "cost (predicted)"]
    return header + (["ms (measured)", "params", "MAdds"] if timed else [])


def answer_cells(answer: dict[str, Any]) -> list[str]:
    """One answer of `metrics.json` in those columns."""
    timed = "measured_ms" in answer
    accuracy = f"{answer['accuracy']:.2%}" if timed else f"{answer['accuracy']:.5g}"
    cells = [f"{answer['budget']:g}", accuracy]
    cells += [f"{answer['test_top1']:.2%}"] if "test_top1" in answer else []
    cells += [f"{answer['cost']:.4g}"]
    if timed:
        cells += [
            measured_cell(answer),
            f"{answer['params'] / 1e6:.3g}M",
            f"{answer['macs'] / 1e6:.3g}M",
        ]
    return cells


def what_accuracy_means(metrics: dict[str, Any]) -> str:
    """What the accuracies of a run's answers are, in a sentence or two."""
    if metrics["source"] == "images":
        return (
            "Top-1 (predicted) is that of the supernet's own weights on the validation images."
            f"{how_well_predicted(metrics)} Top-1 (test) is that of the fine-tuned network, which "
            f"is the exported one, on {metrics['answers'][0]['test_images']:,} test images."
        )
    if metrics["source"] == "imagenet":
        return (
            "Top-1 is predicted: what the published Once-for-All supernet (width 1.0) reaches with "
            "its own weights, before fine-tuning. The mean error is 0.05 points at 224 pixels, and "
            "0.13 to 0.16 below. The exported networks "
            + (
                "have these weights, with batch norms that are still to be measured on images."
                if metrics.get("weights") == "published"
                else "are untrained."
            )
        )
    return f"Accuracy and cost are predicted from the table.{how_well_predicted(metrics)}"


def how_well_predicted(metrics: dict[str, Any]) -> str:
    """The errors of the predictors that were fitted to a run's table, as a further sentence."""
    errors = metrics["predictors"]
    rows = next(iter(errors.values()))["rows"]
    parts = [
        f"{name} has a mean error of {error['mean_error']:.3g} and Kendall's tau "
        f"{error['tau']:.2f} (the rows' standard deviation is {error['deviation']:.3g})"
        f"{': a rough guess' if error['rough'] else ''}"
        for name, error in errors.items()
    ]
    return f" Checked on {rows:,} rows left out, predicted " + "; ".join(parts) + "."


def is_percent(metrics: dict[str, Any]) -> bool:
    """Whether accuracies are known to be fractions; those of a user's table can be anything."""
    return bool(metrics["source"] != "table")


def accuracy_axis(metrics: dict[str, Any]) -> str:
    """What the accuracies are, for an axis."""
    return {"imagenet": "ImageNet top-1", "images": "top-1"}.get(metrics["source"], "accuracy")


def table_name(metrics: dict[str, Any]) -> str:
    """What the table's architectures are called where they are drawn."""
    known = {"imagenet": " (predicted)", "images": " (judged)"}.get(metrics["source"], "")
    return f"architectures of the table{known}"


def measured_cell(timed: dict[str, Any]) -> str:
    """Measured milliseconds with their spread, of an answer or a known network."""
    milliseconds = timed["measured_ms"]
    number = f"{milliseconds:.2f}" if milliseconds >= 1 else f"{milliseconds:.3g}"
    return f"{number} ±{timed['measured_spread']:.1%}"
