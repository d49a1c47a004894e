"""Pages that open offline: headings, tables, bars and heat maps as one HTML text, no script."""

import dataclasses
import html
from collections.abc import Mapping, Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fcfcfa;
  --line: #d9dde3; --bar: #2f6f9f; --error: #10202e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebef; --soft: #a3adba; --paper: #14181d;
  --line: #323a44; --bar: #5aa2d6; --error: #f4f6f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.25rem; }
p { margin: 0.25rem 0 0.75rem; max-width: 46rem; }
figure { margin: 1rem 0 1.5rem; }
figcaption { font-weight: 600; margin-bottom: 0.4rem; }
small, .soft { color: var(--soft); }
.bars { display: grid; grid-template-columns: minmax(5rem, 14rem) 1fr max-content;
  gap: 0.2rem 0.6rem; align-items: center; font-size: 0.9rem; }
.track { position: relative; height: 1.1rem; border-left: 1px solid var(--line); }
.fill { position: absolute; inset: 0 auto 0 0; background: var(--bar); min-width: 1px; }
.whisker { position: absolute; top: 50%; height: 2px; background: var(--error); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.5rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
td.heat { background: color-mix(in srgb, var(--bar) var(--depth), transparent); }
"""


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar from 0 to `value`, with an interval where there is one, and what stands after it."""

    name: str
    value: float
    said: str
    interval: tuple[float, float] | None = None


def page(title: str, parts: Sequence[str]) -> str:
    """The whole file: a title and the parts below it, each HTML already."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{_text(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def section(heading: str, said: str, *parts: str) -> str:
    """A heading, a paragraph under it, and further parts, each HTML already."""
    content = "\n".join(parts)
    return f"<section>\n<h2>{_text(heading)}</h2>\n<p>{_text(said)}</p>\n{content}\n</section>"


def bar_chart(caption: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars on one scale, from 0 to the largest value or interval end."""
    ends = [end for bar in bars for end in (bar.value, *(bar.interval or ()))]
    top = max([*ends, 0]) or 1
    rows = "\n".join(_bar(bar, top) for bar in bars)
    return (
        f"<figure><figcaption>{_text(caption)}</figcaption>\n"
        f'<div class="bars" role="list">\n{rows}\n</div></figure>'
    )


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; the first column names its rows."""
    lines = ["".join(f"<td>{_text(cell)}</td>" for cell in row[1:]) for row in rows]
    return _table(caption, columns, [row[0] for row in rows], lines)


def heat_map(
    caption: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> str:
    """A table whose cells are the darker the nearer they are to `high`; None is empty."""
    lines = ["".join(_heat(value, low, high) for value in values) for values in rows.values()]
    return _table(caption, ["", *columns], list(rows), lines)


def _table(caption, columns, names, lines) -> str:
    head = "".join(f'<th scope="col">{_text(column)}</th>' for column in columns)
    body = "\n".join(
        f'<tr><th scope="row">{_text(name)}</th>{line}</tr>'
        for name, line in zip(names, lines, strict=True)
    )
    return (
        f"<figure><figcaption>{_text(caption)}</figcaption>\n"
        f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div></figure>'
    )


def _bar(bar: Bar, top: float) -> str:
    marks = f'<div class="fill" style="width:{_percent(max(bar.value, 0), top)}"></div>'
    if bar.interval is not None:
        low, high = (max(end, 0) for end in bar.interval)
        marks += (
            f'<div class="whisker" style="left:{_percent(low, top)};'
            f'width:{_percent(high - low, top)}"></div>'
        )
    return (
        f'<div role="listitem">{_text(bar.name)}</div><div class="track">{marks}</div>'
        f'<div class="number">{_text(bar.said)}</div>'
    )


def _heat(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "<td></td>"
    depth = min(max((value - low) / (high - low), 0), 1)
    return f'<td class="heat" style="--depth:{75 * depth:.0f}%">{value:.2f}</td>'


def _percent(value: float, top: float) -> str:
    return f"{100 * value / top:.2f}%"


def _text(value: object) -> str:
    return html.escape(str(value))
