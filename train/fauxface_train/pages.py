"""A report as blocks, written as Markdown or as one self-contained HTML page."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the page's title."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; `backticks` mark names."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A bulleted list."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture beside the report, with its caption."""

    name: str
    caption: str


Block = Heading | Text | Items | Table | Picture


def markdown(blocks: Iterable[Block]) -> str:
    """Return blocks as Markdown; pictures are linked by name."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def fill(text: str, name: str, section: str) -> str:
    """Return a page's text with what stands between `<!-- name -->` and `<!-- /name -->` exchanged.

    Raises:
        ValueError: The page has no such block, or several.
    """
    pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
    filled, count = re.subn(pattern, lambda found: f"{found[1]}{section}\n{found[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} blocks {name!r}, not 1; mend its markers")
    return filled


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; pipes in cells, and what would start a tag, are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return [
        "| " + " | ".join(without_tags(cell).replace("|", r"\|") for cell in line) + " |" for line in lines
    ]


def without_tags(text: str) -> str:
    """Return Markdown in which no tag begins: names of folders and files may look like one."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def html(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """Return blocks as one HTML page that needs no other file, host or script.

    A content security policy forbids the page to load anything; colours follow the reader's light or dark
    setting.

    Args:
        title: Of the window.
        blocks: The content; a picture that isn't in `pictures` is left out.
        pictures: PNG files by name.
    """
    anchors = {id(b): f"s{n}" for n, b in enumerate(b for b in blocks if isinstance(b, Heading))}
    listed = [
        f'<li><a href="#{anchors[id(b)]}">{_inline(b.text)}</a></li>'
        for b in blocks
        if isinstance(b, Heading) and b.level == 2
    ]
    body = [_html(block, pictures, anchors.get(id(block), "")) for block in blocks]
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f'<nav aria-label="Sections"><ul>{"".join(listed)}</ul></nav>',
        "<main>",
        *body,
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {without_tags(text)}"
        case Text(text):
            return without_tags(text)
        case Items(items):
            return "\n".join(f"- {without_tags(item)}" for item in items)
        case Table(header, rows):
            return "\n".join(table(header, rows))
        case Picture(name, caption):
            return f"![{caption}]({name})"


def _html(block: Block, pictures: Mapping[str, bytes], anchor: str) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{anchor}">{_inline(text)}</h{level}>'
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Items(items):
            return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
        case Table(header, rows):
            head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
            return (
                f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
                f"<tbody>{''.join(_row(row) for row in rows)}</tbody></table></div>"
            )
        case Picture(name, caption):
            if name not in pictures:
                return ""
            data = base64.b64encode(pictures[name]).decode("ascii")
            return (
                f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
                f"<figcaption>{_inline(caption)}</figcaption></figure>"
            )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    rest = "".join(
        f'<td class="number">{_inline(cell)}</td>' if _NUMBER.fullmatch(cell) else f"<td>{_inline(cell)}</td>"
        for cell in others
    )
    return f'<tr><th scope="row">{_inline(first)}</th>{rest}</tr>'


def _inline(text: str) -> str:
    """Return text as HTML, with `backticks` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


_NUMBER = re.compile(r"-|-?\d+(\.\d+)?( \(.*\))?")

_STYLE = """
:root { --ground: #fff; --ink: #1a1a1a; --soft: #595959; --line: #d5d5d5; --band: #f4f4f4;
  --link: #00508a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181b; --ink: #e8e8e8; --soft: #a9a9a9; --line: #3c4046; --band: #1f2327;
    --link: #7cc4f5; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 75rem; padding: 1rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem; }
p, li, figcaption { max-width: 50rem; overflow-wrap: anywhere; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
thead th { background: var(--band); }
tbody th { font-weight: normal; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; background: #fff; }
figcaption { color: var(--soft); font-size: .875rem; }
"""
