"""What a scan goes through: a picture, a video, or all of a folder or a glob."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fauxface.errors import SourceError, printable
from fauxface.sources import Kind, PictureSource, Source


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is scanned as a whole.

    Attributes:
        source: What its results name as their source.
        kind: "picture", "video", "folder" for one that can't be listed, or "aside" for a file that lies where
            annotated files go, and isn't scanned.
    """

    source: str
    kind: str


def list_items(
    place: Source, annotate: Path | None, say: Callable[[str], None] = lambda _: None
) -> list[Item]:
    """List what a scan goes through, in order.

    Args:
        place: What to scan.
        annotate: Where annotated files go; what lies in it isn't scanned.
        say: Told how many files of a folder or a glob were left out, by suffix.

    Raises:
        SourceError: There is nothing to scan.
    """
    if not place.is_files:
        return [Item(place.shown, "picture" if place.kind is Kind.STDIN else "video")]
    files = PictureSource(place)
    items = [Item(str(path), "video" if files.is_video(path) else "picture") for path in files]
    if files.skipped:
        counted = sorted(files.skipped.items(), key=lambda each: (-each[1], each[0]))
        kinds = [f"{count} {printable(kind) or 'without suffix'}" for kind, count in counted[:5]]
        more = ", ..." if len(counted) > 5 else ""
        left_out = f"{files.skipped.total()} file{'s' if files.skipped.total() > 1 else ''} left out"
        say(f"{left_out}, which fauxface doesn't read: {', '.join(kinds)}{more}")
    if annotate is not None and place.kind in (Kind.FOLDER, Kind.GLOB):
        inside = Path(os.path.realpath(annotate))
        items = [
            Item(item.source, "aside") if Path(os.path.realpath(item.source)).is_relative_to(inside) else item
            for item in items
        ]
        if all(item.kind == "aside" for item in items):
            raise SourceError(f"{place.text}: all its files lie in {annotate}; annotate into another folder")
    return items + [Item(str(path), "folder") for path in files.unreadable]
