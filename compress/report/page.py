"""One self-contained HTML page: no network, no scripts, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from string import Template

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { --back: #ffffff; --ink: #1b2430; --faint: #5b6875; --edge: #d9dfe5;
  --s0: #9fb0bf; --s1: #1f6f8b; --s2: #b4632d }
@media (prefers-color-scheme: dark) {
  :root { --back: #12181f; --ink: #e4e9ee; --faint: #98a6b3; --edge: #2b3642;
    --s0: #66788a; --s1: #53b5d3; --s2: #dd935f }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--edge); font-size: 1.15rem }
p { margin: .4rem 0; max-width: 48rem; overflow-wrap: anywhere }
.faint { color: var(--faint) }
.tiles, .charts { display: grid; gap: 1rem; margin: 1rem 0 }
.tiles { grid-template-columns: repeat(auto-fit, minmax(min(9rem, 100%), 1fr)) }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)) }
.tiles div { padding: .6rem .8rem; border: 1px solid var(--edge); border-radius: .4rem }
.tiles b { display: block; font-size: 1.35rem; overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--edge); text-align: right; white-space: nowrap }
@media (max-width: 30rem) { th, td { padding-right: .5rem; font-size: .8rem } }
th { color: var(--faint); font-weight: 500 }
th:first-child, td:first-child { text-align: left }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--edge); border-radius: .4rem; font-size: .85rem }
summary { cursor: pointer }
figure { margin: 0 }
figcaption { color: var(--faint); font-size: .85rem; overflow-wrap: anywhere }
svg { width: 100%; max-width: 36rem; height: auto; display: block }
svg text { fill: var(--faint); font-size: 11px }
svg .title { fill: var(--ink); font-size: 12px }
@media (max-width: 30rem) { svg text { font-size: 13px } svg .title { font-size: 14px } }
svg .mid { text-anchor: middle }
svg .end { text-anchor: end }
svg .grid { stroke: var(--edge) }
svg .line { fill: none; stroke-width: 1.8 }
.line.s0 { stroke: var(--s0) } .line.s1 { stroke: var(--s1) } .line.s2 { stroke: var(--s2) }
.fill.s0 { fill: var(--s0) } .fill.s1 { fill: var(--s1); fill-opacity: .8 } .fill.s2 { fill: var(--s2) }
</style>
</head>
<body>
<h1>$title</h1>
<p class="faint">$subtitle</p>
$body
</body>
</html>
""")


def page(title: str, subtitle: str, sections: Mapping[str, Sequence[str]]) -> str:
    """A page of sections, each of blocks of HTML; one without blocks is left out, one without a name has no heading."""
    parts = []
    for name, blocks in sections.items():
        if blocks:
            parts += [f"<h2>{escape(name)}</h2>" if name else "", *blocks]
    return PAGE.substitute(title=escape(title), subtitle=escape(subtitle), body="\n".join(parts))


def text(words: str) -> str:
    """A paragraph."""
    return f"<p>{escape(words)}</p>"


def faint(words: str) -> str:
    """A paragraph that need not be read."""
    return f'<p class="faint">{escape(words)}</p>'


def tiles(figures: Mapping[str, str]) -> str:
    """Large figures with what they are."""
    parts = (f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in figures.items())
    return f'<div class="tiles">{"".join(parts)}</div>' if figures else ""


def figure(picture: str, caption: str) -> str:
    """An SVG with a line of text below it, which may be a long one."""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def charts(*pictures: str) -> str:
    """SVGs and figures side by side, as far as there is room."""
    return f'<div class="charts">{"".join(pictures)}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, the first column to the left."""
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, content: str) -> str:
    """Text as it is, behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(content)}</pre></details>"
