"""The list of mutations in `scripts/mutations.py` goes with the code of today."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("mutations", ROOT / "scripts" / "mutations.py")
assert spec is not None and spec.loader is not None
mutations = importlib.util.module_from_spec(spec)
sys.modules["mutations"] = mutations
spec.loader.exec_module(mutations)


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda m: m.name)
def test_a_mutation_breaks_what_it_says_and_leaves_python(
    mutation: mutations.Mutation,  # type: ignore[name-defined]
    tmp_path: Path,
) -> None:
    copy = tmp_path / mutation.file
    copy.parent.mkdir(parents=True)
    before = shutil.copy(ROOT / "src/pnag" / mutation.file, copy).read_text()
    mutations.apply(mutation, tmp_path)
    after = copy.read_text()
    assert after != before
    assert all((ROOT / path).exists() for path in mutations.tests_of(mutation))
    compile(after, mutation.file, "exec")


def test_a_mutation_of_code_that_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "front.py").write_text("pass\n")
    gone = mutations.edit("gone", "front.py", "no such line", "pass")
    with pytest.raises(ValueError, match=r"front\.py has 0 times, not 1: 'no such line'"):
        mutations.apply(gone, tmp_path)


def test_each_mutation_has_a_name_of_its_own() -> None:
    names = [mutation.name for mutation in mutations.MUTATIONS]
    assert len(set(names)) == len(names) >= 30
