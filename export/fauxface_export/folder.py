"""A bundle's folder appears whole or not at all."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fauxface.errors import BundleError, OutputError
from fauxface.files import is_about, synced
from fauxface.manifest import MANIFEST_NAME, Manifest
from fauxface.signals import uncut
from fauxface.strict_json import MAX_MANIFEST_BYTES

CLASSIFIER, TORCHSCRIPT, PROGRAM = "classifier.onnx", "classifier.torchscript.pt", "classifier.pt2"
VARIANTS = {"int8": "classifier.int8.onnx", "fp16": "classifier.fp16.onnx"}
LOCATOR_INT8 = "locator.int8.onnx"
LOCATOR, GOLDEN, CARD, LICENSE = "locator.onnx", "golden.npz", "MODEL_CARD.md", "LICENSE-WEIGHTS.md"
FAILURES = "failures.png"
BUNDLE_FILES = frozenset(
    {
        MANIFEST_NAME,
        CLASSIFIER,
        TORCHSCRIPT,
        PROGRAM,
        *VARIANTS.values(),
        LOCATOR,
        LOCATOR_INT8,
        GOLDEN,
        CARD,
        LICENSE,
        FAILURES,
    }
)


@contextmanager
def staged(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `out`; rename it to `out` on success, remove it on any error.

    Args:
        out: The folder to make.
        overwrite: Replace an existing bundle; the old one stays in place until the new one is complete.

    Yields:
        The temporary folder.

    Raises:
        OutputError: `out` exists (without `overwrite`), is something else than a bundle, or can't be written.
            An OSError of the body about another place passes as it is.
    """
    out = out.absolute()
    check_target(out, overwrite=overwrite)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            synced(file)  # a replaced bundle goes
        with uncut():
            _swap(temporary, out, overwrite=overwrite)
    except OSError as error:
        if not is_about(error, temporary, out):
            raise
        reason = error.strerror or str(error)
        raise OutputError(f"can't write {out}: {reason}; choose a writable path") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(out: Path, *, overwrite: bool) -> None:
    """Raise an OutputError unless a bundle may be written to `out`."""
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise OutputError(f"{out} exists; choose another --out, or give --overwrite to replace a bundle")
    if out.is_symlink() or not out.is_dir():
        raise OutputError(f"{out} exists and isn't a bundle; choose another --out")
    if other := next(_not_of_a_bundle(out), None):
        raise OutputError(f"{out} holds {other}, no file of a bundle; move it, or choose another --out")


def _not_of_a_bundle(folder: Path) -> Iterator[str]:
    """Yield what a folder holds beside the files that its manifest lists, or that every bundle may have."""
    known = {*BUNDLE_FILES, *_listed(folder / MANIFEST_NAME)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in known and (path.is_symlink() or not path.is_dir()):
            yield name


def _listed(manifest: Path) -> Iterator[str]:
    try:
        with manifest.open("rb") as file:
            yield from Manifest.parse(file.read(MAX_MANIFEST_BYTES + 1)).files
    except (OSError, BundleError):
        return


def _swap(new: Path, out: Path, *, overwrite: bool) -> None:
    check_target(out, overwrite=overwrite)
    if not out.exists():
        new.rename(out)
        return
    old = new.with_name(f"{new.name}.old")
    out.rename(old)
    try:
        new.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
