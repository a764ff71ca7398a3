"""Opening what OpenCV can read frames from: files, cameras, streams and pipelines."""

import os
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from fauxface.containers import Layout, inspect
from fauxface.errors import VideoError
from fauxface.sources import Kind, Source, camera_index, camera_size
from fauxface.threads import available_cores

STREAM_TIMEOUT_MS = 10_000
"""How long opening a URL, and waiting for its next frame, may take."""

NO_FRAME = "no frame could be decoded"
"""What is said of a video without any."""

LOST_FRAMES = "can't be decoded"
"""What is said of single frames of a video."""

_LIVE_THREADS = 4
"""Each thread that decodes holds back a frame: so many seconds of a camera that sends one per second."""

_FFMPEG_LOG = "OPENCV_FFMPEG_LOGLEVEL"
_quieting = threading.Lock()
_levels: list[tuple[int, str | None]] = []


@contextmanager
def quiet() -> Iterator[None]:
    """Keep OpenCV's and FFmpeg's own messages off standard error; a level set by the user stays in force.

    FFmpeg's level is read from the environment once in a process, when OpenCV first uses it. Levels belong to
    the process: of threads that are in here at once, the first one remembers them and the last one sets them.
    """
    with _quieting:
        if not _levels:
            _levels.append((cv2.utils.logging.getLogLevel(), os.environ.get(_FFMPEG_LOG)))
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            os.environ.setdefault(_FFMPEG_LOG, "-8")
        else:
            _levels.append(_levels[0])
    try:
        yield
    finally:
        with _quieting:
            level, given = _levels.pop()
            if not _levels:
                cv2.utils.logging.setLogLevel(level)
                if given is None:
                    os.environ.pop(_FFMPEG_LOG, None)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def utf8_name(path: Path) -> Iterator[str]:
    """Yield a name by which OpenCV can open the file.

    It is absolute, since FFmpeg takes what precedes the colon of "10:30.mp4" for a protocol. Where it isn't
    UTF-8, which crashes OpenCV, a temporary link stands for it.
    """
    name = os.path.abspath(path)  # noqa: PTH100  (a link whose target is to be kept as it is)
    if _is_utf8(name):
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"video{path.suffix if path.suffix.isascii() else ''}")
        link.symlink_to(name)
        yield str(link)


def open_capture(source: Source, threads: int | None) -> cv2.VideoCapture:
    """Open a source; whether that went well, `isOpened` tells.

    Args:
        source: Of kind video, camera, url or gstreamer.
        threads: Threads that decode; FFmpeg's choice, one per core, when not given. Of a live stream four at
            most.

    Raises:
        VideoError: The source has no frames, isn't UTF-8, or needs a GStreamer that this OpenCV lacks.
    """
    if source.kind in (Kind.URL, Kind.GSTREAMER) and not _is_utf8(source.text):
        raise VideoError(f"{source.shown}: isn't UTF-8; write it percent-encoded")  # which would end OpenCV
    if source.kind is Kind.VIDEO:
        with utf8_name(Path(source.text)) as name:
            return cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads or 0])
    if source.kind is Kind.CAMERA:
        api = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        width, height = camera_size(source) or (0, 0)
        asked = [cv2.CAP_PROP_FRAME_WIDTH, width, cv2.CAP_PROP_FRAME_HEIGHT, height] if width else []
        return cv2.VideoCapture(camera_index(source), api, asked)
    if source.kind is Kind.URL:
        if source.is_live:
            threads = min(threads or available_cores(), _LIVE_THREADS)
        asked = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        asked += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS, cv2.CAP_PROP_N_THREADS, threads or 0]
        scheme, separator, rest = source.text.partition("://")  # FFmpeg knows them in lower case only
        return cv2.VideoCapture(scheme.lower() + separator + rest, cv2.CAP_FFMPEG, asked)
    if source.kind is Kind.GSTREAMER:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise VideoError(
                "this OpenCV build has no GStreamer; install an OpenCV built with it, or give a file or URL"
            )
        return cv2.VideoCapture(source.text, cv2.CAP_GSTREAMER)
    raise VideoError(f"{source.shown}: a source of kind {source.kind} has no frames; give a video")


def why_closed(source: Source, layout: Layout) -> str:
    """Return what to say of a source that OpenCV didn't open."""
    if source.kind is Kind.CAMERA:
        return f"{source.text}: the camera can't be opened; check that it is connected, free and permitted"
    if source.kind is Kind.URL:
        return f"{source.shown}: the stream can't be opened; check the address, the network and the login"
    if source.kind is Kind.GSTREAMER:
        return f"{source.shown}: GStreamer can't start the pipeline; check it with gst-launch-1.0"
    if not layout.complete:
        return f"{source.text}: the video is cut off before its index, {NO_FRAME}; copy it again"
    return f"{source.text}: is not a readable video; check the file or convert it to mp4"


def check_file(text: str) -> Layout:
    """Return what a video file says of itself; raise VideoError for a path that is no readable file."""
    try:
        status = Path(text).stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            return Layout(None, True)  # a pipe, whose bytes can be read once only
        if status.st_size == 0:
            raise VideoError(f"{text}: is empty; copy the file again")
        return inspect(text)
    except FileNotFoundError:
        raise VideoError(f"{text}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise VideoError(f"{text}: is a folder, not a video; give a video file") from None
    except PermissionError:
        raise VideoError(f"{text}: permission denied; make the file readable") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{text}: can't be read: {reason}; check the path and the disk") from error
