"""Typed errors. Every message is one line: what was wrong, then what to do."""


def printable(text: str, keep: str = "") -> str:
    """Escape control characters and undecodable bytes, so that no name drives a terminal or breaks a line.

    Args:
        text: Any text.
        keep: Characters that stay as they are, such as line breaks.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class FauxfaceError(Exception):
    """Base of every error that fauxface raises on purpose.

    Args:
        message: What was wrong; what to do. Line breaks, control characters and undecodable bytes, which file
            names may hold, are escaped, so that the message stays one printable line.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ImageError(FauxfaceError):
    """A picture can't be read: missing, empty, not an image, truncated, corrupt or over the pixel cap."""


class VideoError(FauxfaceError):
    """A video, camera or stream can't be opened, or ends before its first frame."""


class NoFaceError(FauxfaceError):
    """No face was found in a picture."""


class BundleError(FauxfaceError):
    """A bundle is missing, malformed, tampered with, or of a version that this release can't read."""


class ProviderError(FauxfaceError):
    """The execution provider asked for is unknown or isn't really in use, or ONNX Runtime is missing."""


class SourceError(FauxfaceError):
    """A scan source names nothing that can be scanned."""


class OutputError(FauxfaceError):
    """An output can't be written, or belongs to something else."""


class MissingExtraError(FauxfaceError):
    """A command needs an extra that isn't installed."""


class DataError(FauxfaceError):
    """A data set is missing, empty, or not laid out as expected."""


class CheckpointError(FauxfaceError):
    """A checkpoint or a weights file is missing, corrupt, or of another architecture."""


class GateError(FauxfaceError):
    """A quality gate failed; what it guards wasn't written."""


class BenchmarkError(FauxfaceError):
    """A benchmark can't be run as asked, or a result file of one is corrupt."""
