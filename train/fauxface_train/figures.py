"""Writing figures as PNG."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fauxface.files import atomic_write


def write(
    folder: Path, drawings: Mapping[str, Callable[[], Figure]], dpi: float, earlier: Iterable[str] = ()
) -> list[Path]:
    """Draw figures and write them as PNG.

    Text is drawn as it is: a dollar sign in a source's name starts no formula.

    Args:
        folder: Where to write.
        drawings: File name to what draws it.
        dpi: Pixels per inch.
        earlier: Names that an earlier run may have left; those that aren't drawn now are removed.

    Returns:
        The written files.

    Raises:
        OutputError: A file can't be written.
    """
    written = []
    with mpl.rc_context({"text.parse_math": False}):
        for name, draw in drawings.items():
            figure = draw()
            FigureCanvasAgg(figure)
            with atomic_write(folder / name) as temporary:
                figure.savefig(temporary, dpi=dpi, format="png")
            written.append(folder / name)
    for name in set(earlier) - drawings.keys():
        (folder / name).unlink(missing_ok=True)
    return written
