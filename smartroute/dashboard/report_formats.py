"""Format a report for a terminal, as markdown and as HTML, and its groups as CSV. Computes no figure."""

from __future__ import annotations

import csv
import html as html_text
import io
from typing import TYPE_CHECKING

from smartroute.dashboard.report_content import Page, pages
from smartroute.dashboard.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console

    from smartroute.analytics.report import Report


def show_report(console: Console, report: Report) -> None:
    """Print a report on a terminal."""
    from rich.table import Table

    for page in pages(report):
        console.print()
        console.rule(page.title)
        for number, columns in enumerate(_tables(page, console.width) if page.rows else ()):
            if number:
                console.print()
            table = Table(box=None, pad_edge=False, header_style="bold")
            for column in columns:
                first = column == 0
                table.add_column(
                    page.columns[column],
                    justify="left" if first else "right",
                    overflow="fold",
                    no_wrap=not first and len(columns) > 2,
                )
            for row in page.rows:
                table.add_row(*(printable(row[column]) for column in columns))
            console.print(table)
        for line in page.lines:
            # In a pipe or a file a line stays one line, so that it can be searched for.
            console.print(printable(line), soft_wrap=not console.is_terminal)


def _tables(page: Page, width: int) -> list[list[int]]:
    """Split a page's columns over tables that fit the width without breaking a figure.

    Every table starts with the first column.
    """
    needed = [
        max(len(row[column]) for row in (page.columns, *page.rows)) for column in range(len(page.columns))
    ]
    name = min(needed[0], width // 3)
    tables = [[0]]
    left = width - name
    for column, cells in enumerate(needed[1:], start=1):
        if cells + _GAP > left and len(tables[-1]) > 1:
            tables.append([0])
            left = width - name
        tables[-1].append(column)
        left -= cells + _GAP
    return tables


_GAP = 2
"""The spaces between two columns on a terminal."""


def markdown(report: Report) -> str:
    """Return a report as markdown."""
    parts = []
    for index, page in enumerate(pages(report)):
        parts.append(f"{'#' if index == 0 else '##'} {page.title}\n")
        if page.rows:
            parts.append(_line(page.columns))
            parts.append(_line(("---",) * len(page.columns)))
            parts += [_line(row) for row in page.rows]
            parts.append("")
        parts += [f"- {_inert(line)}" for line in page.lines]
        parts.append("")
    return "\n".join(parts)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_inert(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _inert(text: str) -> str:
    """Escape what markdown reads as an escape, a tag or a link, because names may hold anything."""
    return printable(text).replace("\\", "\\\\").replace("<", "&lt;").replace("](", "]\\(")


def html(report: Report) -> str:
    """Return a report as one HTML document that loads nothing and can be printed."""
    contents = pages(report)
    title = html_text.escape(contents[0].title)
    body = "\n".join(_section(page, "h1" if index == 0 else "h2") for index, page in enumerate(contents))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>smartroute: {title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _section(page: Page, heading: str) -> str:
    parts = [f"<section>\n<{heading}>{html_text.escape(page.title)}</{heading}>"]
    if page.rows:
        parts.append(f"<table>\n<thead>{_html_row(page.columns, 'th')}</thead>\n<tbody>")
        parts += [_html_row(row, "td") for row in page.rows]
        parts.append("</tbody>\n</table>")
    if page.lines:
        items = "\n".join(f"<li>{html_text.escape(line)}</li>" for line in page.lines)
        parts.append(f"<ul>\n{items}\n</ul>")
    return "\n".join((*parts, "</section>"))


def _html_row(cells: tuple[str, ...], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html_text.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
section { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td { font-variant-numeric: tabular-nums; }
li { white-space: pre-line; }
"""


def comma_separated(report: Report) -> str:
    """Return the groups of a report as CSV: a row per group, unrounded figures, empty where unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fields = (
        "requests",
        "cost_usd",
        "cost_share",
        "mean_cost_usd",
        "escalation_rate",
        "error_rate",
        "mean_confidence",
        "labels",
        "mean_quality",
        "latency_p50_s",
        "latency_p95_s",
        "unpriced",
        "saved_share",
    )
    writer.writerow(("dimension", "group", *fields, "simulated"))
    for name, rows in report.rows.items():
        for row in rows:
            group = printable(" / ".join(value or "" for value in row.group))
            # A spreadsheet would run a cell that starts like a formula.
            safe = f"'{group}" if group[:1] in ("=", "+", "-", "@", "\t") else group
            values = ("" if (value := getattr(row, field)) is None else value for field in fields)
            writer.writerow((name, safe, *values, "yes" if report.simulated else "no"))
    return text.getvalue()
