"""Writing files so that a reader never sees half of one."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fauxface.errors import OutputError


def synced(path: Path) -> None:
    """Have the system keep a file, or a folder's names, through a loss of power; not folders on Windows."""
    if os.name == "nt" and path.is_dir():
        return
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that can't
            raise
    finally:
        os.close(number)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on any error.

    The temporary name keeps the suffix, since writers of pictures and videos choose their format by it.

    A symbolic link stays: the file that it points to is replaced.

    Args:
        path: The file to write; its folder is made when it doesn't exist.

    Yields:
        The temporary path. The body must create a file there.

    Raises:
        OutputError: The folder or the file can't be written, or `path` is a folder or a device. An
            OSError of the body about another file passes as it is.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(6)}{target.suffix[-16:]}")
    try:
        if target.exists() and not target.is_file():
            raise OutputError(f"can't write {path}: it is a folder or a device; choose a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if not is_about(error, temporary, target):
            raise
        reason = error.strerror or str(error)
        raise OutputError(f"can't write {path}: {reason}; choose a writable path") from error


def is_about(error: OSError, temporary: Path, target: Path) -> bool:
    """Tell whether an error is about writing a target under its temporary name; others are of other places.

    One that names no file counts as such, as that of a full disk does; a closed pipe doesn't.
    """
    if error.filename is None:
        return not isinstance(error, BrokenPipeError)
    named = Path(os.fsdecode(error.filename))
    return named.is_relative_to(temporary) or named in (target, *target.parents)


def usable_folder(path: str | os.PathLike[str]) -> Path:
    """Return a folder that files may be written to, checked before long work starts; nothing is made.

    Raises:
        OutputError: It is a file, or can't be written.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder to write to")
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"can't write into {nearest}; give another folder to write to")
    return folder


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside `path`; rename it to `path` on success, remove it on any error.

    Args:
        path: The folder to make; it must not exist.

    Yields:
        The temporary folder.

    Raises:
        OutputError: `path` exists or can't be written. An OSError of the body about another place passes as
            it is.
    """
    target = Path(path).absolute()
    if target.exists() or target.is_symlink():
        raise OutputError(f"{path} exists; choose another folder")
    temporary = target.with_name(f".{secrets.token_hex(6)}")
    try:
        temporary.mkdir(parents=True)
        try:
            yield temporary
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if not is_about(error, temporary, target):
            raise
        reason = error.strerror or str(error)
        raise OutputError(f"can't write {path}: {reason}; choose a writable folder") from error
