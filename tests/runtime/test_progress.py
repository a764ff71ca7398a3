import io

import pytest

from fauxface import progress
from fauxface.progress import Progress, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_log_gets_a_plain_line_every_ten_seconds(clock):
    stream = io.StringIO()
    with Progress(50, "scan", "pictures", stream) as bar:
        for _ in range(50):
            clock.now += 0.5
            bar.advance()
    lines = stream.getvalue().splitlines()
    assert lines == [
        "scan: 20/50 pictures, 2.0/s, 15 s left",
        "scan: 40/50 pictures, 2.0/s, 5 s left",
        "scan: 50/50 pictures, 2.0/s",
    ]


def test_what_was_done_earlier_does_not_count_in_the_rate(clock):
    stream = io.StringIO()
    with Progress(1000, "scan", "files", stream, done=900) as bar:
        clock.now += 10
        bar.advance(20)
    assert stream.getvalue().splitlines()[0] == "scan: 920/1000 files, 2.0/s, 40 s left"


def test_terminal_gets_a_bar_that_fills(clock):
    stream = Terminal()
    with Progress(4, "train", "images", stream) as bar:
        for _ in range(4):
            clock.now += 1
            bar.advance(note="loss 0.5")
    shown = stream.getvalue().split("\r\x1b[K")
    assert shown[1] == "train [#######.....................] 1/4 images, 1.0/s, 3 s left, loss 0.5"
    assert shown[-1] == f"train [{'#' * 28}] 4/4 images, 1.0/s, loss 0.5\n"


def test_terminal_is_not_flooded(clock):
    stream = Terminal()
    with Progress(1000, "scan", stream=stream) as bar:
        for _ in range(1000):
            clock.now += 0.001
            bar.advance()
    assert stream.getvalue().count("\r") <= 12


@pytest.mark.parametrize(("stream", "start"), [(io.StringIO(), "scan: "), (Terminal(), "\r\x1b[Kscan ")])
def test_unknown_total_counts_up(clock, stream, start):
    with Progress(None, "scan", "frames", stream) as bar:
        clock.now += 2
        bar.advance(6)
    last = stream.getvalue().rstrip("\n").split("\r\x1b[K")[-1].splitlines()[-1]
    assert last.endswith("6 frames, 3.0/s")
    assert stream.getvalue().startswith(start)


@pytest.mark.parametrize("total", [0, 3])
def test_more_or_less_than_the_total_is_survived(clock, total):
    stream = Terminal()
    with Progress(total, "scan", stream=stream) as bar:
        clock.now += 1
        bar.advance(5)
    assert "5/" in stream.getvalue()
    assert "-" not in stream.getvalue()


def test_track_passes_items_on_and_ends_its_line(clock):
    stream = io.StringIO()
    assert list(track(iter("abc"), None, "scan", "pictures", stream)) == ["a", "b", "c"]
    assert stream.getvalue().splitlines()[-1].startswith("scan: 3 pictures")


def test_track_shows_where_an_error_stopped_it(clock):
    stream = io.StringIO()

    def items():
        yield 1
        yield 2
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        list(track(items(), 5, "scan", "pictures", stream))
    assert "2/5 pictures" in stream.getvalue()


def test_standard_error_is_the_default(capsys):
    assert list(track([1], 1, "scan")) == [1]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scan: 1/1 items")
