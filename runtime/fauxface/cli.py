"""The `fauxface` command: builds the Typer app and turns typed errors into one line and an exit code."""

import importlib.metadata
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from fauxface import cli_bench, cli_bundle, cli_demo, cli_scan
from fauxface.errors import FauxfaceError, MissingExtraError, printable


def require_extra(extra: str, *modules: str) -> None:
    """Raise a MissingExtraError that names the pip line unless every module can be imported.

    Args:
        extra: The extra of this distribution that brings the modules.
        *modules: Top-level module names; they are looked up, not imported.

    Raises:
        MissingExtraError: At least one module isn't installed.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"this command needs {', '.join(missing)}; run: pip install 'fauxface[{extra}]'"
        )


@contextmanager
def ended_without_traces() -> Iterator[None]:
    """Let signals that end a program end a command as Ctrl-C does, which removes what it has half made."""
    from fauxface.signals import ended_as_by_ctrl_c

    try:
        with ended_as_by_ctrl_c():
            yield
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None


def build_app() -> typer.Typer:
    """Return the app with the runtime's commands and those that the train and export stages register."""
    app = typer.Typer(
        name="fauxface",
        help="Tell AI-generated faces from camera faces.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,  # importing rich would take longer than the rest of help
    )
    for commands in (cli_scan, cli_demo, cli_bundle, cli_bench):
        commands.register(app)
    for entry in sorted(importlib.metadata.entry_points(group="fauxface.commands"), key=lambda e: e.name):
        entry.load()(app)
    return app


def main() -> None:
    """Run the command line; a typed error, or the system's, becomes one line on standard error and code 1."""
    _open_streams()
    try:
        # The patterns of a scan, which it expands by itself, stay as they are on Windows, too.
        build_app()(windows_expand_args=sys.argv[1:2] != ["scan"])
    except FauxfaceError as error:
        sys.stderr.write(f"error: {type(error).__name__}: {error}\n")
        raise SystemExit(1) from None
    except MemoryError:
        sys.stderr.write("error: MemoryError: there isn't enough memory; scale the pictures, or free some\n")
        raise SystemExit(1) from None
    except OSError as error:
        where = "" if error.filename is None else f"{printable(os.fsdecode(error.filename))}: "
        reason = error.strerror or str(error)
        sys.stderr.write(
            f"error: {type(error).__name__}: {where}{reason}; check the path and the room on it\n"
        )
        _forget_output()
        raise SystemExit(1) from None


def _open_streams() -> None:
    """Make closed output go nowhere, and what the terminal's encoding lacks come out as an escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (as long as Python)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Drop what standard output still holds: where it can't be written, Python's end would complain again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
