"""The README is short, and links between pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pnag.run.recipe import make_recipe
from pnag.run.size import family_of_recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(to), f"{page.name} links to {link}"


def test_the_tables_of_the_page_on_devices_fit_the_run_of_make_run() -> None:
    page = (ROOT / "docs" / "devices.md").read_text("utf-8")
    commands = page.split("```")[1].splitlines()
    measured = [line for line in commands if "pnag measure" in line and "--out" in line]
    of = f"--family {family_of_recipe(make_recipe({})).name} "
    assert any("generate runs/this-machine " in line for line in commands)
    assert measured and all(of in line for line in measured)


def test_the_readme_is_one_screen_and_the_index_names_every_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 700
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages == {page for page in pages if f"({page})" in index}
