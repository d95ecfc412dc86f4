"""Breaks the method in one place after the other, and shows which tests notice.

    python scripts/mutations.py                # all, about 20 seconds each on a quiet core
    python scripts/mutations.py --only evo     # those whose name holds "evo"
    python scripts/mutations.py --first        # one test each is enough

Each mutation is an edit of a copy of `src` in a temporary folder, on which the tests of its file
run: those of the methods to compare with, of the method itself, of vectors of budgets, of a
table's own choices, or of the authors' table. A mutation that none notices makes the exit code 1,
and so does an unbroken copy on which one fails. The table is written to
`benchmarks/results/mutations.txt`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "mutations.txt"
SEVERAL = "several costs: "  # how the names of mutations of vectors of budgets begin
TESTS_OF_VECTORS = ("tests/search/test_vectors_of_budgets.py",)
TESTS_OF_BASELINES = ("tests/search/test_baselines_learn.py", "tests/search/test_methods.py")
TESTS = (
    "tests/search/test_learning.py",
    "tests/search/test_generator.py",
    "tests/search/test_policy_gradient.py",
    "tests/search/test_ranking_loss.py",
    *TESTS_OF_VECTORS,
)
TESTS_OF = {  # of the files below a folder, or of one file; the first that a path begins with
    "search/methods/": TESTS_OF_BASELINES,
    "search/": TESTS,
    "space/choices.py": ("tests/space/test_space_of_choices.py",),
    "run/nested_tables.py": ("tests/run/test_nested_tables.py",),
}


@dataclass(frozen=True)
class Mutation:
    """What is broken, and how.

    Attributes:
        file: below `src/pnag`.
        edits: (old, new); each old stands as often as `times` in the file.
    """

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    times: int = 1


def edit(name: str, file: str, old: str, new: str, times: int = 1) -> Mutation:
    """A mutation of one edit."""
    return Mutation(name, file, ((old, new),), times)


STEP = "        loss.backward()\n        optimizer.step()\n        schedule.step()\n"
MUTATIONS = (
    # --- the method --------------------------------------------------------------------------
    edit("no evaluator step", "search/evaluator.py",
         STEP, STEP.replace("        optimizer.step()\n", "")),
    edit("no generator step", "search/policy_gradient.py",
         "clip_grad_norm_(generator.parameters(), clip)\n    optimizer.step()\n",
         "clip_grad_norm_(generator.parameters(), clip)\n"),
    edit("the reward's sign", "search/policy_gradient.py",
         "usual_score.advantage(scores, ", "usual_score.advantage(-scores, "),
    edit("dominance without the accuracy rule", "search/dominance.py",
         "torch.where(feasible, by_accuracy + len(cost), -by_cost)",
         "torch.where(feasible, -by_cost, -by_cost)"),
    edit("dominance without the budget", "search/dominance.py",
         "torch.where(feasible, by_accuracy + len(cost), -by_cost)",
         "torch.where(feasible, by_accuracy, by_accuracy)"),
    edit("several costs: the least share of a budget counts", "search/dominance.py",
         "budgets[:, None]).amax(2)", "budgets[:, None]).amin(2)"),
    edit("several costs: within one is within all", "search/dominance.py",
         "(cost[None] <= budgets[:, None]).all(2)", "(cost[None] <= budgets[:, None]).any(2)"),
    edit("several costs: no limit is the highest budget", "search/budgets.py",
         "part(column), self.unlimited[c])", "part(column), part(column))"),
    edit("several costs: dominance by the first alone", "search/dominance.py",
         "(cost[None] <= budgets[:, None]).all(2)", "(cost[None] <= budgets[:, None])[:, :, 0]"),
    edit("several costs: the first alone counts beyond the budgets", "search/dominance.py",
         "by_cost = _ranks_of_rows(_largest_shares(cost, budgets))",
         "by_cost = torch.unique(cost[:, 0], return_inverse=True)[1]"),
    edit("several costs: the embeddings do not add up", "search/budgets.py",
         "        ).sum(0)", "        )[0]"),
    edit("several costs: one budget's share instead of its cost", "search/dominance.py",
         "limited = torch.isfinite(budgets)", "limited = torch.ones_like(budgets).bool()"),
    edit("several costs: the main one is always the first", "search/budget_draws.py",
         "main = torch.arange(costs).repeat(k)", "main = torch.zeros(costs * k, dtype=torch.long)"),
    edit("several costs: only one is ever limited", "search/budget_draws.py",
         "torch.randint(1, costs + 1,", "torch.randint(1, 2,"),
    edit("the entropy's sign", "search/policy_gradient.py",
         "weight = settings.entropy_weight(", "weight = -settings.entropy_weight("),
    edit("the entropy's sign in its own gradient", "search/policy_gradient.py",
         "gain + weight * rollout.entropy", "gain - weight * rollout.entropy"),
    edit("the entropy's gradient without its second part", "search/policy_gradient.py",
         "gain = (advantage + weight * variety)", "gain = advantage"),
    edit("the baseline's sign", "search/policy_gradient.py",
         "centred = values - values.mean(1, keepdim=True)",
         "centred = values + values.mean(1, keepdim=True)"),
    edit("the embedding ignored, by R and by f", "search/budgets.py",
         "inside = budgets.double().clamp(anchors[0], anchors[-1])",
         "inside = budgets.double() * 0 + anchors[0]"),
    edit("the embedding ignored, by R alone", "search/evaluator.py",
         "self.from_budget(self.embedding(budgets))",
         "self.from_budget(self.embedding(budgets)) * 0", times=2),
    edit("the embedding ignored, by f alone", "search/generator.py",
         "self.from_budget(self.embedding(budgets))",
         "self.from_budget(self.embedding(budgets)) * 0"),
    edit("refinement never called", "search/policy_gradient.py",
         "due = s.refine_steps and ", "due = False and "),
    edit("refinement by the wrong sign", "search/policy_gradient.py",
         "scores.view(k, pool), ranks)", "scores.view(k, pool), -ranks)"),
    edit("f never calibrated", "search/generator.py",
         "return held.cummax(0).values + hair", "return asked.cpu()"),
    edit("the front without f's draws", "search/front.py",
         "np.concatenate([drawn, start]),", "start,"),
    edit("the front without the table", "search/front.py",
         "np.concatenate([drawn, start]),", "drawn,"),
    edit("the local search keeps the worst", "search/front.py",
         "order = np.lexsort((-accuracy, place))", "order = np.lexsort((accuracy, place))"),
    # --- what is searched --------------------------------------------------------------------
    edit("choices: an empty cell is a 0", "space/choices.py",
         "(isinstance(value, float) and np.isnan(value)):\n        return None",
         "(isinstance(value, float) and np.isnan(value)):\n        return 0"),
    edit("choices: a choice that does not exist is its first value", "space/choices.py",
         "name: None if index == ABSENT else values[index]", "name: values[max(index, 0)]"),
    edit("choices: every choice exists everywhere", "space/choices.py",
         "place, needs = conditions.get(name) or (-1, 0)", "place, needs = -1, 0"),
    edit("architectures.json: seconds stay seconds", "run/nested_tables.py",
         "1000 * values if in_milliseconds(full) else values", "values"),
    edit("architectures.json: accuracies are multiplied too", "run/nested_tables.py",
         "1000 * values if in_milliseconds(full) else values", "1000 * values"),
    edit("architectures.json: no budget is in ms", "run/nested_tables.py",
         "return bool(outer and dot) and name in SECONDS", "return False"),
    # --- the baselines -----------------------------------------------------------------------
    edit("NAS-MO and OFA-MO: the reward's sign", "search/methods/multi_objective.py",
         "standard.clip(-4, 4)", "-standard.clip(-4, 4)"),
    edit("NAS-MO and OFA-MO: no training", "search/methods/multi_objective.py",
         "ascend(generator, optimizer, objective, s.clip)", "pass"),
    edit("NAS-MO and OFA-MO: the reward without the budget", "search/methods/multi_objective.py",
         "np.where(cost <= budget, settings.within, settings.beyond)",
         "np.where(cost <= budget, settings.within, settings.within)"),
    edit("NAS-MO: the worst of the draws", "search/methods/multi_objective.py",
         "return int(reward.argmax())", "return int(reward.argmin())"),
    edit("NAS-MO: the first of the draws", "search/methods/multi_objective.py",
         "return int(reward.argmax())", "return 0"),
    edit("OFA-MO: the best of all draws, within the budget or not",
         "search/methods/multi_objective.py",
         "    within = cost <= budget\n", "    within = cost <= np.inf\n"),
    edit("OFA-MO: the worst within the budget", "search/methods/multi_objective.py",
         "np.where(within, accuracy, -np.inf)", "np.where(within, -accuracy, -np.inf)"),
    edit("EVO: the worst breed", "search/methods/evo.py",
         'best = np.argsort(-accuracy, kind="stable")[:count]',
         'best = np.argsort(accuracy, kind="stable")[:count]'),
    edit("EVO: anyone breeds", "search/methods/evo.py",
         'best = np.argsort(-accuracy, kind="stable")[:count]', "best = np.arange(count)"),
    edit("EVO: no mutation", "search/methods/evo.py",
         "np.where(mutant[couple], self.settings.mutation, 0.5)",
         "np.where(mutant[couple], 0.0, 0.5)"),
    edit("EVO: children are copies", "search/methods/evo.py",
         "drawn = np.where(rng.random(other.shape) < rate, other, first[couple])",
         "drawn = np.where(rng.random(other.shape) < 0, other, first[couple])"),
    edit("EVO: children beyond the budget live", "search/methods/evo.py",
         "np.flatnonzero(self._cost(drawn) <= budget)", "np.flatnonzero(self._cost(drawn) > 0)"),
    edit("EVO: no generations", "search/methods/evo.py",
         "for generation in range(s.generations):", "for generation in range(0):"),
    edit("NSGA-II: the accuracy's sign", "search/methods/nsga2.py",
         "np.stack([-accuracy, cost], 1)", "np.stack([accuracy, cost], 1)"),
    edit("NSGA-II: blind to the cost", "search/methods/nsga2.py",
         "np.stack([-accuracy, cost], 1)", "np.stack([-accuracy, 0 * cost], 1)"),
    edit("NSGA-II: no generations", "search/methods/nsga2.py",
         'termination=("n_gen", settings.generations)', 'termination=("n_gen", 1)'),
    edit("NSGA-II: one beyond the budget", "search/methods/nsga2.py",
         "best - np.arange(n) % (best + 1)", "best + 1 - np.arange(n) % (best + 1)"),
    edit("random: the worst row within the budget", "search/methods/random_search.py",
         "self.problem.accuracy[within].argmax()", "self.problem.accuracy[within].argmin()"),
    edit("random: any row", "search/methods/random_search.py",
         "np.flatnonzero(self.problem.cost <= budget)", "np.flatnonzero(self.problem.cost > 0)"),
)  # fmt: skip


def apply(mutation: Mutation, package: Path) -> None:
    """Edit the copy of `src/pnag` at `package`.

    Raises:
        ValueError: if the text to be replaced is not there as often as it should be.
    """
    path = package / mutation.file
    text = path.read_text()
    for old, new in mutation.edits:
        if text.count(old) != mutation.times:
            raise ValueError(
                f"mutation {mutation.name!r}: {mutation.file} has {text.count(old)} times, "
                f"not {mutation.times}: {old!r}; give the mutation the text of today"
            )
        text = text.replace(old, new)
    path.write_text(text)


def tests_of(mutation: Mutation) -> tuple[str, ...]:
    """The files of tests that should notice a mutation."""
    if mutation.name.startswith(SEVERAL):
        return TESTS_OF_VECTORS
    return next(tests for path, tests in TESTS_OF.items() if mutation.file.startswith(path))


def failing(mutation: Mutation | None, arguments: list[str]) -> dict[str, str]:
    """The tests (file::test) that fail on a mutated copy or an unbroken one, and their messages.

    Args:
        arguments: of pytest.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source)  # with what is compiled: times are kept
        if mutation:
            apply(mutation, source / "pnag")
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--junitxml={report}", *arguments],
            cwd=ROOT, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise SystemExit(done.stdout + done.stderr)
        return {
            f"{(case.get('classname') or '').rpartition('.')[2]}::{case.get('name')}": str(
                found.get("message")
            )
            for case in ElementTree.parse(report).iter("testcase")
            for found in case
            if found.tag in ("failure", "error")
        }


def main() -> int:
    """Run what is asked for; 1 if a mutation lives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the wanted mutations")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--first", action="store_true", help="stop at the first test that fails")
    options = parser.parse_args()
    wanted = [m for m in MUTATIONS if options.only.lower() in m.name.lower()]
    if options.list or not wanted:
        print("\n".join(m.name for m in MUTATIONS))
        return 0 if options.list else 2
    stop = ["-x"] if options.first else []
    unbroken = failing(None, [*stop, *dict.fromkeys(t for m in wanted for t in tests_of(m))])
    if unbroken:
        print("the tests fail without a mutation:")
        print("\n".join(f"  {name}: {message}" for name, message in unbroken.items()))
        return 1
    lines, alive = [], 0
    for mutation in wanted:
        dead = failing(mutation, [*stop, *tests_of(mutation)])
        alive += not dead
        lines.append(f"{mutation.name} ({mutation.file}): {len(dead) or 'NO'} test(s)")
        lines += [f"    {name}" for name in dead]
        print("\n".join(lines[-1 - len(dead) :]), flush=True)
        if not (options.only or options.first):
            RESULT.write_text("\n".join(lines) + "\n")
    total = f"{len(wanted) - alive} of {len(wanted)} mutations are noticed"
    print(total)
    if not (options.only or options.first):
        RESULT.write_text("\n".join([*lines, "", total]) + "\n")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
