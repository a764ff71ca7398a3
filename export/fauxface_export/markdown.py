"""Markdown from plain data, for the model card."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fauxface_train.pages import without_tags


def text(value: object) -> str:
    """Return a value as one line of Markdown that can't break a table or start a tag."""
    line = " ".join(str(value).split()).replace("|", "\\|")
    return without_tags(line)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; cells are escaped."""
    lines = [list(header), ["---"] * len(header), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(lines: Iterable[str]) -> str:
    """Return a list; the lines are Markdown already."""
    return "\n".join(f"- {line}" for line in lines)


def facts(values: Mapping[str, Any], otherwise: str) -> str:
    """Return nested JSON data as a table of dotted names and values, or `otherwise` for nothing."""
    rows = list(_flat(values))
    return table(("", ""), rows) if rows else otherwise


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Yield dotted names and values of nested JSON data; short lists stay on one line."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        yield name, ", ".join(str(item) for item in value)
    elif value not in (None, ""):
        yield name, f"{value:.6g}" if isinstance(value, float) else str(value)


def mapping(parent: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return a nested object, empty where it is missing."""
    found: Any = parent
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def figure(entry: Mapping[str, Any], *, interval: bool = True) -> str:
    """Return a figure of metrics.json with its interval, or why there is none."""
    value = entry.get("value")
    if value is None:
        return str(entry.get("reason", "not measured"))
    shown = f"{value:.4f}"
    if interval and entry.get("low") is not None and entry.get("high") is not None:
        shown += f" [{entry['low']:.4f}, {entry['high']:.4f}]"
    return shown
