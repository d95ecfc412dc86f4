"""The site that `make docs` builds in `build/docs`. Its source folder is the repository."""

import posixpath
import re
from typing import Any

project = "pnag"
author = "the authors of pnag"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
include_patterns = ["index.md", "README.md", "CHANGELOG.md", "docs/**", "benchmarks/README.md",
                    "examples/quickstart.ipynb", "src/pnag/weights/*.md"]  # fmt: skip
exclude_patterns = ["docs/examples/**", "docs/figures/**"]
root_doc = "docs/README"
html_theme = "furo"
html_title = "pnag"
nb_execution_mode = "off"  # a test runs the notebook; the site shows its stored outputs
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # links to headings, as on GitHub
default_role = "code"  # single backticks, as docstrings have them
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
suppress_warnings = ["myst.header", "toc.not_included"]


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("source-read", add_contents)


def add_contents(app: Any, name: str, source: list[str]) -> None:
    """Give the site a sidebar: the sections and links of the index, in their order."""
    if name != root_doc:
        return
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        caption, links = section.split("\n", 1)
        pages = re.findall(r"\]\(([^)#]+)\)", links)
        paths = ["/" + posixpath.normpath(posixpath.join("docs", page)) for page in pages]
        source[0] += "\n\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n"
        source[0] += "\n".join(paths) + "\n```\n"
