"""Write docs/cli.md from the real command line; a test checks that the file is up to date.

Usage: python docs/generate_cli.py
"""

import inspect
import sys
from pathlib import Path
from typing import Any

import typer

from fauxface.cli import build_app

TARGET = Path(__file__).parent / "cli.md"


def reference() -> str:
    """Return the reference as Markdown."""
    lines = ["# Command line", "", "Generated from the commands themselves by `docs/generate_cli.py`.", ""]
    _describe(typer.main.get_command(build_app()), ["fauxface"], lines)
    return "\n".join(lines).rstrip() + "\n"


def _describe(command: Any, path: list[str], lines: list[str]) -> None:
    children = getattr(command, "commands", None)
    if children is None:
        parameters = [p for p in command.params if p.name != "help"]
        arguments = [p for p in parameters if p.param_type_name == "argument"]
        options = [p for p in parameters if p.param_type_name == "option"]
        usage = [*path, *map(_argument, arguments)]
        lines += [f"## `{' '.join(usage + (['[OPTIONS]'] if options else []))}`", ""]
        lines += [" ".join(inspect.cleandoc(command.help or "").split("\f")[0].split()), ""]
        if parameters:
            lines += ["| | | default |", "|---|---|---|"]
        for parameter in parameters:
            given = (
                [*parameter.opts, *parameter.secondary_opts]
                if parameter in options
                else [_argument(parameter)]
            )
            names = ", ".join(f"`{name}`" for name in given).replace("|", "\\|")
            text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
            lines.append(f"| {names} | {text} | {_default(parameter)} |")
        lines.append("")
        return
    for name in sorted(children):
        _describe(children[name], [*path, name], lines)


def _argument(parameter: Any) -> str:
    """Return an argument as --help's usage shows it: [BUNDLE] may be left out, SRC... repeats."""
    name = (parameter.metavar or parameter.name.upper()).strip("[].")
    shown = name if parameter.required else f"[{name}]"
    return shown if parameter.nargs == 1 else f"{shown}..."


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or callable(value) or value in ("", []):
        return ""
    return f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{TARGET}\n")
