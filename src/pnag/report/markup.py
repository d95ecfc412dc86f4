"""Pieces of HTML: templates filled in, data embedded, tables."""

from __future__ import annotations

import json
import re
from html import escape
from importlib import resources
from string import Template
from typing import Any

ASSETS = resources.files("pnag.report") / "assets"
KINDS = "predicted|measured|published|test"  # how a number came about
SHARED_SCRIPTS = ("dom.js", "drawing.js", "card.js", "charts.js", "picker.js", "training.js")


def asset(name: str) -> str:
    """A file that comes with this package."""
    return (ASSETS / name).read_text(encoding="utf-8")


def page(template: str, script: str, data: dict[str, Any], title: str, **texts: str) -> str:
    """A self-contained page: the template in the frame of all pages, with style, scripts and data.

    Args:
        template, script: names of assets. data: for the script, as JSON.
        title: as HTML. texts: HTML for the template's places.
    """
    scripts = "\n".join(asset(name) for name in (*SHARED_SCRIPTS, script))
    return Template(asset("frame.html")).substitute(
        title=title,
        body=Template(asset(template)).substitute(texts),
        style=asset("page.css"),
        script=scripts,
        data=embedded(data),
    )


def embedded(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end one."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def marked(name: str) -> str:
    """A column's name, where `(predicted)` or another of `KINDS` at its end becomes a mark."""
    return re.sub(rf" \(({KINDS})\)$", r" <span class='kind \1'>\1</span>", name)


def table(
    header: list[str],
    rows: list[list[str]],
    label: str,
    groups: list[tuple[str, int]] | None = None,
) -> str:
    """An HTML table that scrolls on its own; cells are HTML.

    Args:
        rows: the last cell of a row that is shorter than the header spans what is left.
        label: of the scrolling part, for screen readers.
        groups: names above the header and how many of its columns each is over.
    """
    above = "".join(
        f"<th scope='colgroup' colspan='{columns}'>{name}</th>" if name else "<td></td>" * columns
        for name, columns in groups or []
    )
    head = "".join(f"<th scope='col'>{marked(name)}</th>" for name in header)
    body = "".join(_table_row(row, header) for row in rows)
    return (
        f"<div class='scroll' role='group' tabindex='0' aria-label='{escape(label)}'>"
        f"<table><thead>{f'<tr>{above}</tr>' if above else ''}<tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _table_row(row: list[str], header: list[str]) -> str:
    first, *cells = row
    left = len(header) - len(row)
    wide = f"<td class='wide' colspan='{left + 1}'>{cells.pop()}</td>" if left else ""
    predicted = (" class='predicted'" if n.endswith("(predicted)") else "" for n in header[1:])
    texts = "".join(f"<td{look}>{cell}</td>" for look, cell in zip(predicted, cells, strict=False))
    return f"<tr><th scope='row'>{first}</th>{texts}{wide}</tr>"


def inline_svg(text: str, label: str) -> str:
    """A figure that matplotlib wrote, as an element of a page.

    Its style is for every element of a document, which here would be the page's, so it goes to the
    root, from which the figure's elements inherit it.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    style = "stroke-linejoin: round; stroke-linecap: butt"
    root = f"<svg role='img' aria-label='{escape(label)}' style='{style}'"
    return text.replace("<svg", root, 1).strip()


def section(name: str, title: str, content: str) -> str:
    """A section with a heading that names it."""
    return (
        f"<section aria-labelledby='{name}-title'><h2 id='{name}-title'>{title}</h2>"
        f"{content}</section>"
    )
