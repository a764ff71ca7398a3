import dataclasses

import numpy as np
import pytest
from PIL import Image

from fauxface.bench.charts import bars, lines
from fauxface.bench.plots import write_plots
from fauxface.errors import OutputError

BLUE, ORANGE, GREEN = (0, 114, 178), (230, 159, 0), (0, 158, 115)
AXIS_Y = 464


def opened(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB"))


def heights(path, color):
    """Columns in which a colour stands below the legend, and how far up from the axis it goes there."""
    pixels = opened(path)[92:AXIS_Y]
    rows, columns = np.nonzero((pixels == color).all(2))
    return {x: AXIS_Y - 92 - rows[columns == x].min() for x in np.unique(columns)}


def test_bars_are_as_high_as_their_values(tmp_path):
    bars(tmp_path / "a.png", "t", "ms", ["one", "two"], {"p50": [10.0, 20.0], "p99": [40.0, None]})
    blue, orange = heights(tmp_path / "a.png", BLUE), heights(tmp_path / "a.png", ORANGE)
    low, high = min(blue.values()), max(blue.values())
    assert high == pytest.approx(2 * low, abs=3)
    assert max(orange.values()) == pytest.approx(4 * low, abs=5)
    assert max(orange) < 500 < max(blue)


def test_stacked_bars_stand_on_each_other(tmp_path):
    bars(tmp_path / "a.png", "t", "ms", ["one"], {"a": [10.0], "b": [30.0]}, stacked=True)
    blue, orange = heights(tmp_path / "a.png", BLUE), heights(tmp_path / "a.png", ORANGE)
    assert max(orange.values()) == pytest.approx(4 * max(blue.values()), abs=5)
    assert set(blue) == set(orange)


def test_lines_go_through_their_points(tmp_path):
    lines(tmp_path / "a.png", "t", "faces/s", ["1", "8"], {"x": [100.0, 300.0], "y": [None, 200.0]})
    blue = heights(tmp_path / "a.png", BLUE)
    assert blue[max(blue) - 4] > 2.5 * blue[min(blue) + 4]
    orange = heights(tmp_path / "a.png", ORANGE)
    assert len(orange) < 12


def test_series_that_share_a_colour_have_marks_of_their_own(tmp_path):
    marks = []
    for number in range(0, 32, 8):
        values = {str(i): [10.0 if i == number else None] for i in range(number + 1)}
        lines(tmp_path / "a.png", "t", "ms", ["one"], values)
        pixels = opened(tmp_path / "a.png")[150:AXIS_Y]
        rows, columns = np.nonzero((pixels == BLUE).all(2))
        middle = pixels[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2]
        corner = pixels[rows.min(), columns.min()]
        marks.append((tuple(middle) == BLUE, tuple(corner) == BLUE))
    assert marks == [(True, False), (False, False), (True, True), (False, True)]


@pytest.mark.parametrize("value", [0.0, 1e-4, 7.0, 123456.0])
def test_any_range_can_be_drawn(tmp_path, value):
    bars(tmp_path / "a.png", "t", "ms", ["one"], {"a": [value]})
    lines(tmp_path / "b.png", "t", "ms", ["one"], {f"a line with a long name {i}": [value] for i in range(9)})
    assert opened(tmp_path / "a.png").shape == opened(tmp_path / "b.png").shape == (540, 960, 3)


def test_every_scenario_has_its_picture(make, tmp_path):
    written = write_plots(make(target_fps=30.0, faces=3), tmp_path / "plots")
    assert sorted(path.stem for path in written) == [
        *("budget", "multi-stream", "multi-stream-rounds", "offline"),
        *("single-stream", "single-stream-rounds", "video", "video-stages"),
    ]
    assert all(opened(path).min() < 255 for path in written)
    blue = heights(tmp_path / "plots" / "video-stages.png", BLUE)
    green = heights(tmp_path / "plots" / "video-stages.png", GREEN)
    assert max(green.values()) == pytest.approx(5.5 * max(blue.values()), rel=0.1)


def test_nothing_measured_gives_no_picture(report, tmp_path):
    empty = dataclasses.replace(report, measurements=(), videos=())
    assert write_plots(empty, tmp_path / "plots") == []


def test_a_folder_that_can_not_be_made_is_an_error(report, tmp_path):
    (tmp_path / "plots").write_text("a file")
    with pytest.raises(OutputError):
        write_plots(report, tmp_path / "plots")


def test_too_few_queries_for_any_percentile_draw_no_bars(make, tmp_path):
    report = make(scenarios=("single-stream",), rounds=1)
    few = tuple(
        dataclasses.replace(m, rounds=(dataclasses.replace(m.rounds[0], latencies_us=(9.0,)),))
        for m in report.measurements
    )
    drawn = write_plots(dataclasses.replace(report, measurements=few), tmp_path)
    assert [path.name for path in drawn] == ["single-stream-rounds.png"]
