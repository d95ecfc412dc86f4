"""Breaks the method in one place after the other, and shows which tests notice.

    python scripts/mutations.py                # all, about 20 seconds each on a quiet core
    python scripts/mutations.py --only evo     # those whose name holds "evo"
    python scripts/mutations.py --first        # one test each is enough

Each mutation is an edit of a copy of `src` in a temporary folder, on which tests of `tests/search`
run: those of the methods to compare with, or those of the method itself. A mutation that none
notices makes the exit code 1, and so does an unbroken copy on which one fails. The table is written
to `benchmarks/results/mutations.txt`.
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
BASELINES = "methods/"  # where their files are
TESTS_OF_BASELINES = ("tests/search/test_baselines_learn.py", "tests/search/test_methods.py")
TESTS = (
    "tests/search/test_learning.py",
    "tests/search/test_generator.py",
    "tests/search/test_policy_gradient.py",
    "tests/search/test_ranking_loss.py",
    "tests/search/test_vectors_of_budgets.py",
)


@dataclass(frozen=True)
class Mutation:
    """What is broken, and how.

    Attributes:
        file: below `src/pnag/search`.
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
    edit("no evaluator step", "evaluator.py", STEP, STEP.replace("        optimizer.step()\n", "")),
    edit("no generator step", "policy_gradient.py",
         "clip_grad_norm_(generator.parameters(), clip)\n    optimizer.step()\n",
         "clip_grad_norm_(generator.parameters(), clip)\n"),
    edit("the reward's sign", "policy_gradient.py",
         "usual_score.advantage(scores, ", "usual_score.advantage(-scores, "),
    edit("dominance without the accuracy rule", "dominance.py",
         "torch.where(feasible, by_accuracy + len(cost), -by_cost)",
         "torch.where(feasible, -by_cost, -by_cost)"),
    edit("dominance without the budget", "dominance.py",
         "torch.where(feasible, by_accuracy + len(cost), -by_cost)",
         "torch.where(feasible, by_accuracy, by_accuracy)"),
    edit("several costs: the least share of a budget counts", "dominance.py",
         "budgets[:, None]).amax(2)", "budgets[:, None]).amin(2)"),
    edit("several costs: within one is within all", "dominance.py",
         "(cost[None] <= budgets[:, None]).all(2)", "(cost[None] <= budgets[:, None]).any(2)"),
    edit("several costs: no limit is the highest budget", "budgets.py",
         "part(column), self.unlimited[c])", "part(column), part(column))"),
    edit("several costs: only one is ever limited", "budget_draws.py",
         "torch.randint(1, costs + 1,", "torch.randint(1, 2,"),
    edit("the entropy's sign", "policy_gradient.py",
         "weight = settings.entropy_weight(", "weight = -settings.entropy_weight("),
    edit("the entropy's sign in its own gradient", "policy_gradient.py",
         "gain + weight * rollout.entropy", "gain - weight * rollout.entropy"),
    edit("the entropy's gradient without its second part", "policy_gradient.py",
         "gain = (advantage + weight * variety)", "gain = advantage"),
    edit("the baseline's sign", "policy_gradient.py",
         "centred = values - values.mean(1, keepdim=True)",
         "centred = values + values.mean(1, keepdim=True)"),
    edit("the embedding ignored, by R and by f", "budgets.py",
         "inside = budgets.double().clamp(anchors[0], anchors[-1])",
         "inside = budgets.double() * 0 + anchors[0]"),
    edit("the embedding ignored, by R alone", "evaluator.py",
         "self.from_budget(self.embedding(budgets))",
         "self.from_budget(self.embedding(budgets)) * 0", times=2),
    edit("the embedding ignored, by f alone", "generator.py",
         "self.from_budget(self.embedding(budgets))",
         "self.from_budget(self.embedding(budgets)) * 0"),
    edit("refinement never called", "policy_gradient.py",
         "due = s.refine_steps and ", "due = False and "),
    edit("refinement by the wrong sign", "policy_gradient.py",
         "scores.view(k, pool), ranks)", "scores.view(k, pool), -ranks)"),
    edit("f never calibrated", "generator.py",
         "return held.cummax(0).values + hair", "return asked.cpu()"),
    edit("the front without f's draws", "front.py",
         "np.concatenate([drawn, start]),", "start,"),
    edit("the front without the table", "front.py",
         "np.concatenate([drawn, start]),", "drawn,"),
    edit("the local search keeps the worst", "front.py",
         "order = np.lexsort((-accuracy, place))", "order = np.lexsort((accuracy, place))"),
    # --- the baselines -----------------------------------------------------------------------
    edit("NAS-MO and OFA-MO: the reward's sign", "methods/multi_objective.py",
         "standard.clip(-4, 4)", "-standard.clip(-4, 4)"),
    edit("NAS-MO and OFA-MO: no training", "methods/multi_objective.py",
         "ascend(generator, optimizer, objective, s.clip)", "pass"),
    edit("NAS-MO and OFA-MO: the reward without the budget", "methods/multi_objective.py",
         "np.where(cost <= budget, settings.within, settings.beyond)",
         "np.where(cost <= budget, settings.within, settings.within)"),
    edit("NAS-MO: the worst of the draws", "methods/multi_objective.py",
         "return int(reward.argmax())", "return int(reward.argmin())"),
    edit("NAS-MO: the first of the draws", "methods/multi_objective.py",
         "return int(reward.argmax())", "return 0"),
    edit("OFA-MO: the best of all draws, within the budget or not", "methods/multi_objective.py",
         "    within = cost <= budget\n", "    within = cost <= np.inf\n"),
    edit("OFA-MO: the worst within the budget", "methods/multi_objective.py",
         "np.where(within, accuracy, -np.inf)", "np.where(within, -accuracy, -np.inf)"),
    edit("EVO: the worst breed", "methods/evo.py",
         'best = np.argsort(-accuracy, kind="stable")[:count]',
         'best = np.argsort(accuracy, kind="stable")[:count]'),
    edit("EVO: anyone breeds", "methods/evo.py",
         'best = np.argsort(-accuracy, kind="stable")[:count]', "best = np.arange(count)"),
    edit("EVO: no mutation", "methods/evo.py",
         "np.where(mutant[couple], self.settings.mutation, 0.5)",
         "np.where(mutant[couple], 0.0, 0.5)"),
    edit("EVO: children are copies", "methods/evo.py",
         "drawn = np.where(rng.random(other.shape) < rate, other, first[couple])",
         "drawn = np.where(rng.random(other.shape) < 0, other, first[couple])"),
    edit("EVO: children beyond the budget live", "methods/evo.py",
         "np.flatnonzero(self._cost(drawn) <= budget)", "np.flatnonzero(self._cost(drawn) > 0)"),
    edit("EVO: no generations", "methods/evo.py",
         "for generation in range(s.generations):", "for generation in range(0):"),
    edit("NSGA-II: the accuracy's sign", "methods/nsga2.py",
         "np.stack([-accuracy, cost], 1)", "np.stack([accuracy, cost], 1)"),
    edit("NSGA-II: blind to the cost", "methods/nsga2.py",
         "np.stack([-accuracy, cost], 1)", "np.stack([-accuracy, 0 * cost], 1)"),
    edit("NSGA-II: no generations", "methods/nsga2.py",
         'termination=("n_gen", settings.generations)', 'termination=("n_gen", 1)'),
    edit("NSGA-II: one beyond the budget", "methods/nsga2.py",
         "best - np.arange(n) % (best + 1)", "best + 1 - np.arange(n) % (best + 1)"),
    edit("random: the worst row within the budget", "methods/random_search.py",
         "self.problem.accuracy[within].argmax()", "self.problem.accuracy[within].argmin()"),
    edit("random: any row", "methods/random_search.py",
         "np.flatnonzero(self.problem.cost <= budget)", "np.flatnonzero(self.problem.cost > 0)"),
)  # fmt: skip


def apply(mutation: Mutation, search: Path) -> None:
    """Edit the copy of `src/pnag/search` at `search`.

    Raises:
        ValueError: if the text to be replaced is not there as often as it should be.
    """
    path = search / mutation.file
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
    return TESTS_OF_BASELINES if mutation.file.startswith(BASELINES) else TESTS


def failing(mutation: Mutation | None, arguments: list[str]) -> dict[str, str]:
    """The tests (file::test) that fail on a mutated copy or an unbroken one, and their messages.

    Args:
        arguments: of pytest.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source)  # with what is compiled: times are kept
        if mutation:
            apply(mutation, source / "pnag" / "search")
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
