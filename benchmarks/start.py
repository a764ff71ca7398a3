"""What is asked before a benchmark measures: an idle machine, a place for the result, commit and model."""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fauxface.bench.machine import busy_share
from fauxface.bundle import DEFAULT_BUNDLE, MANIFEST_NAME
from fauxface.errors import FauxfaceError, OutputError
from fauxface.files import usable_folder
from fauxface_train import provenance

BUSY_SHARE = 0.1


class BusyError(FauxfaceError):
    """The machine has other work."""


@dataclass(frozen=True, slots=True)
class Before:
    """What is asked before anything is measured, since all of it may change meanwhile.

    Attributes:
        busy: Share of the machine that other processes took; None where the system doesn't say.
        commit: Of this tree, as of `provenance.commit`.
        model: SHA-256 of the bundle's manifest; None where there is no bundle.
    """

    busy: float | None
    commit: str | None
    model: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        busy = None if self.busy is None else round(self.busy, 3)
        return {"busy_before": busy, "commit": self.commit, "model": self.model}


def before(arguments: argparse.Namespace) -> Before:
    """Return what a result says of the time before it was measured; to call before the work begins.

    Raises:
        BusyError: The machine has other work, and that wasn't allowed.
        OutputError: The result can't be written to where it should.
    """
    if arguments.out.suffix != ".json":
        raise OutputError(f"{arguments.out} must end in .json; the plot is written beside it")
    usable_folder(arguments.out.parent)
    given = arguments.bundle or DEFAULT_BUNDLE
    manifest = given if given.name == MANIFEST_NAME else given / MANIFEST_NAME
    return Before(require_idle(arguments.busy), provenance.commit(), _digest(manifest))


def model_note(result: dict[str, Any]) -> str:
    """Return what is to be said of a result's model: nothing where it is the shipped one."""
    same = result.get("model") == _digest(DEFAULT_BUNDLE / MANIFEST_NAME)
    return "" if same else ", not with the shipped model"


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def require_idle(allowed: bool) -> float | None:
    """Return the share of the machine that is busy.

    Raises:
        BusyError: It is more than a tenth, and that wasn't allowed.
    """
    share = busy_share()
    if share is not None and share > BUSY_SHARE and not allowed:
        raise BusyError(
            f"other processes take {share:.0%} of the processors; stop them, or give --busy for a trial run"
        )
    return share


def read(path: str) -> str:
    """Return a file of the system, "" where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
