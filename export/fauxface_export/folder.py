"""A bundle's folder appears whole or not at all."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fauxface.errors import OutputError
from fauxface.manifest import MANIFEST_NAME

CLASSIFIER, TORCHSCRIPT, PROGRAM = "classifier.onnx", "classifier.torchscript.pt", "classifier.pt2"
VARIANTS = {"int8": "classifier.int8.onnx", "fp16": "classifier.fp16.onnx"}
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
    """
    out = out.absolute()
    check_target(out, overwrite=overwrite)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _swap(temporary, out, overwrite=overwrite)
    except OSError as error:
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
    if out.is_symlink() or not out.is_dir() or not _is_bundle(out):
        raise OutputError(f"{out} exists and isn't a bundle; choose another --out")


def _is_bundle(folder: Path) -> bool:
    """Return whether a folder holds a bundle, or nothing but files of one."""
    return (folder / MANIFEST_NAME).is_file() or {path.name for path in folder.iterdir()} <= BUNDLE_FILES


def _swap(new: Path, out: Path, *, overwrite: bool) -> None:
    check_target(out, overwrite=overwrite)
    if not out.exists():
        new.rename(out)
        return
    old = new.with_name(f"{new.name}.old")
    out.rename(old)
    try:
        new.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
