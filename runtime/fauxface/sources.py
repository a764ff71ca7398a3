"""What a scan reads: from the text a user gives to files, a camera, a stream or standard input."""

import codecs
import glob
import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fauxface.errors import SourceError
from fauxface.images import FOREIGN, sniff
from fauxface.listing import each_once, matches, walk

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"}
)
"""Suffixes, in lower case, of the files that a folder or a glob yields as pictures."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts"}
    | {".3gp", ".mjpg", ".mjpeg", ".ogv"}
)
"""Suffixes, in lower case, of the files that a folder or a glob yields as videos."""

_SCHEMES = ("rtsp", "rtsps", "rtmp", "srt", "udp", "http", "https")
_LOGIN = re.compile(r"(://[^/\s]*?):[^/\s]*@")
_ODD_LOGIN = re.compile(r"(://[^/\s:@\[]*):(?!\*{3}@)(?!\d+(?:[/?#\s]|$))(?:(?! ! ).)*@")
_SECRET = re.compile(
    r"""(?<![a-z0-9])((?:[a-z0-9]+[_-])*(?:[a-z0-9]*(?:password|passwd|passphrase|pwd)"""
    r"""|(?:user|login|admin|camera)?pass?|psw|user-pw|proxy-pw|token|secret|authbasic))"""
    r"""=("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?<=_password=)(?:(?!_(?:channel|stream)=)[^&\s])+|[^&\s]+)""",
    re.IGNORECASE,
)
_DEVICE = re.compile(r"/dev/video\d+")
_SIZE = re.compile(r"@(\d{2,5})x(\d{2,5})$", re.ASCII)
_VIDEO_MAGIC = (
    (4, b"ftyp"),
    (8, b"AVI "),
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"FLV\x01"),
    (0, b"\x00\x00\x01\xba"),
    (0, b"OggS"),
)


class Kind(StrEnum):
    """What a source is."""

    IMAGE = "image"
    FOLDER = "folder"
    GLOB = "glob"
    VIDEO = "video"
    CAMERA = "camera"
    URL = "url"
    GSTREAMER = "gstreamer"
    STDIN = "stdin"


@dataclass(frozen=True, slots=True)
class Source:
    """Something to scan.

    Attributes:
        kind: What it is.
        text: The text as given.
    """

    kind: Kind
    text: str

    @property
    def is_files(self) -> bool:
        """Whether `PictureSource` can list it: an image, a video, a folder or a glob."""
        return self.kind in (Kind.IMAGE, Kind.VIDEO, Kind.FOLDER, Kind.GLOB)

    @property
    def is_live(self) -> bool:
        """Whether its end is a failure: a camera, or a URL that isn't HTTP."""
        return self.kind is Kind.CAMERA or (
            self.kind is Kind.URL and not self.text.lower().startswith(("http://", "https://"))
        )

    @property
    def shown(self) -> str:
        """The text for messages and logs: passwords and tokens in a URL or pipeline are replaced by ***."""
        return _masked(self.text) if self.kind in (Kind.URL, Kind.GSTREAMER) else self.text


def parse(text: str) -> Source:
    """Tell what the text of a source names.

    An existing path is taken as such, even if it reads like something else. Only existence is checked:
    nothing is opened but a file whose suffix says nothing.

    Args:
        text: An image, a folder, a glob, a video file, a camera (`camera:0` or `/dev/video0`, and
            `camera:0@1920x1080` to ask for a size), an RTSP or HTTP URL (also RTMP, SRT, UDP), a GStreamer
            pipeline (elements joined by " ! "), or `-` for an image on standard input.

    Raises:
        SourceError: The text names nothing that can be scanned.
    """
    if not text.strip():
        raise SourceError("the source is empty; give a file, folder, glob, camera:0, URL or -")
    if text == "-":
        return Source(Kind.STDIN, text)
    if "\0" in text:
        raise SourceError(f"{text!r}: a path can't hold a zero byte; check the source")
    if _DEVICE.fullmatch(_device(text)):
        if not Path(_SIZE.sub("", text)).exists():
            raise SourceError(
                f"{text}: there is no such camera; see /dev/video* for those that are connected"
            )
        return Source(Kind.CAMERA, text)
    if _exists(text):
        return Source(_kind_of_path(text), text)
    return Source(_kind_of_text(text), text)


def fixed_folder(pattern: str) -> Path:
    """Return the folder that a glob names before its first wildcard: `shots` of `shots/**/*.jpg`."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts[:-1]))


def camera_index(source: Source) -> int:
    """Return the number of a camera source: 0 for `camera:0`, `/dev/video0` and a link to that."""
    return int(re.sub(r"\D", "", _device(_SIZE.sub("", source.text))))


def camera_size(source: Source) -> tuple[int, int] | None:
    """Return the width and height that a camera source asks for, or None: the driver's own choice."""
    found = _SIZE.search(source.text)
    return None if found is None else (int(found[1]), int(found[2]))


def _device(text: str) -> str:
    """Return what a name in /dev leads to, such as a camera's name in /dev/v4l/by-id; other text as it is."""
    return os.path.realpath(_SIZE.sub("", text)) if text.startswith("/dev/") else text


class PictureSource:
    """The pictures and videos of a source, listed once, in a fixed order.

    Folders are read recursively and sorted by path; symbolic links are followed, but no folder is read twice:
    where several paths that match a glob lead to one folder, the shortest one counts.
    Hidden files and folders are left out. Iterating yields `Path` objects; `str` of one is what results call
    the source. Tell pictures from videos by `is_video`.

    Attributes:
        paths: The files to scan.
        skipped: How many files were left out since their suffix is of neither a picture nor a video, or
            since they are TypeScript, pipes, sockets or devices; by suffix, in lower case.
        unreadable: Folders that couldn't be listed.

    Args:
        source: A source of kind image, video, folder or glob.

    Raises:
        SourceError: There is no picture or video, or the source is of another kind.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.skipped: Counter[str] = Counter()
        self.unreadable: list[Path] = []
        if source.kind in (Kind.IMAGE, Kind.VIDEO):
            self.paths = [Path(source.text)]
        elif source.kind is Kind.FOLDER:
            self.paths = self._chosen(walk(Path(source.text), self._failed))
            if not self.paths:
                raise SourceError(
                    f"{source.text}: the folder holds no picture or video{self._problem()}; check the path"
                )
        elif source.kind is Kind.GLOB:
            found = (path for path in matches(source.text, self._failed) if not os.path.isdir(path))  # noqa: PTH112  (never raises)
            self.paths = self._chosen(each_once(map(Path, found)))
            if not self.paths:
                raise SourceError(
                    f"{source.text}: no picture or video matches{self._problem()}; "
                    "check the pattern and quote it"
                )
        else:
            raise SourceError(f"{source.shown}: a {source.kind} has no files; read its frames instead")

    def __iter__(self) -> Iterator[Path]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def is_video(self, path: Path) -> bool:
        """Tell whether a listed path is read as a video."""
        if self.source.kind in (Kind.IMAGE, Kind.VIDEO):
            return self.source.kind is Kind.VIDEO
        return path.suffix.lower() in VIDEO_SUFFIXES

    def _chosen(self, found: Iterable[Path]) -> list[Path]:
        chosen = []
        for path in found:
            known = path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
            if known and not is_special(path) and not _is_program(path):
                chosen.append(path)
            else:
                self.skipped[path.suffix.lower()] += 1
        return sorted(set(chosen), key=lambda path: path.parts)

    def _problem(self) -> str:
        return f" ({len(self.unreadable)} folders unreadable)" if self.unreadable else ""

    def _failed(self, error: OSError) -> None:
        if (folder := Path(error.filename)) not in self.unreadable:
            self.unreadable.append(folder)


def is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a socket or a device, whose reading may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:  # which says more when the file is read
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _is_program(path: Path) -> bool:
    """Tell whether a file is TypeScript, whose suffixes MPEG transport streams share."""
    if path.suffix.lower() not in {".ts", ".mts"}:
        return False
    try:
        with path.open("rb") as file:
            prefix = file.read(1024)
        codecs.getincrementaldecoder("utf-8")().decode(prefix)
    except (OSError, UnicodeDecodeError):  # a file that can't be opened says more when it is read
        return False
    return bool(prefix) and b"\0" not in prefix


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # a name too long for the file system, or a folder that may not be entered
        return False


def _kind_of_path(text: str) -> Kind:
    path = Path(text)
    if path.is_dir():
        return Kind.FOLDER
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return Kind.VIDEO
    if suffix in IMAGE_SUFFIXES or not path.is_file():
        return Kind.IMAGE
    try:
        with path.open("rb") as file:
            prefix = file.read(16)
    except OSError:
        return Kind.IMAGE  # whose reader says what is wrong
    is_video = any(prefix[offset:].startswith(magic) for offset, magic in _VIDEO_MAGIC)
    is_foreign = any(prefix[offset:].startswith(magic) for offset, magic, _ in FOREIGN)  # HEIC among them
    return Kind.VIDEO if is_video and not is_foreign and sniff(prefix) is None else Kind.IMAGE


def _masked(text: str) -> str:
    """Replace the password of a login, which ends at the last "@", and the values of `password=` and such.

    A password with a "/" or a space in it, which no URL may have, is one all the same.
    """
    return _SECRET.sub(r"\1=***", _ODD_LOGIN.sub(r"\1:***@", _LOGIN.sub(r"\1:***@", text)))


def _kind_of_text(text: str) -> Kind:
    shown = _masked(text)
    if text.lower().startswith("camera:"):
        if not re.fullmatch(r"camera:\d{1,4}", _SIZE.sub("", text), re.IGNORECASE | re.ASCII):
            raise SourceError(
                f"{shown}: a camera is given by its number; write camera:0 or camera:0@1920x1080"
            )
        return Kind.CAMERA
    if " ! " in text:
        return Kind.GSTREAMER
    scheme, separator, rest = text.partition("://")
    if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        if scheme.lower() == "file":
            raise SourceError(f"{shown}: give the plain path instead of a file URL")
        if scheme.lower() not in _SCHEMES:
            raise SourceError(f"{shown}: {scheme} URLs can't be read; give one of {', '.join(_SCHEMES)}")
        if not rest.strip("/"):
            raise SourceError(f"{shown}: the URL names no host; write for example {scheme}://host/stream")
        return Kind.URL
    if glob.has_magic(text):
        return Kind.GLOB
    raise SourceError(f"{shown}: there is no such file or folder; check the path")
