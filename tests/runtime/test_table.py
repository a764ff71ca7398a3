import io

from hypothesis import given
from hypothesis import strategies as st

from fauxface.errors import printable
from fauxface.results import ItemError
from fauxface.table import Table, Tally
from made_results import face, frame, picture


def test_table_rows():
    stream = io.StringIO()
    table = Table(stream)
    table.result(picture("a.jpg", face(), face("unsure", 0.5, reason="face is 30 px")))
    table.result(picture("b\x1b[31m.jpg", error=ItemError("NoFaceError", "no face")))
    table.result(picture("c.jpg", error=ItemError("ImageError", "c.jpg: is empty")))
    table.result(frame("camera:0", 4, face("bona_fide", 0.004)))
    tally = Tally()
    tally.add(frame("v.mp4", 0, face()))
    table.video("v.mp4", tally, None)
    assert stream.getvalue().splitlines() == [
        "verdict     generated    face  where",
        "generated         97%   60 px  a.jpg [1/2]",
        "unsure            50%   60 px  a.jpg [2/2]  (face is 30 px)",
        "no face                        b\\x1b[31m.jpg",
        "unreadable                     c.jpg: is empty",
        "bona fide         <1%   60 px  camera:0 frame 4",
        "video                          v.mp4: 1 frame, 1 face: 1 generated",
    ]


def test_table_without_rows_still_prints_lines():
    stream = io.StringIO()
    table = Table(stream, rows=False)
    table.result(picture("a.jpg", face()))
    table.line("done")
    assert stream.getvalue() == "done\n"


def test_table_survives_a_narrow_encoding():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Table(stream).result(picture("ä.jpg", face()))
    assert b"\\xe4.jpg" in raw.getvalue()


@given(st.text())
def test_printable_is_one_safe_line(text):
    assert printable(text).isprintable()


def test_tally_counts_everything():
    tally = Tally()
    for result in [
        picture("a.jpg", face(), face("bona_fide", 0.1)),
        picture("b.jpg", error=ItemError("NoFaceError", "no face")),
        picture("c.jpg", error=ItemError("ImageError", "empty")),
        frame("v.mp4", 0, face("unsure", 0.5)),
        frame("v.mp4", 1),
    ]:
        tally.add(result)
    tally.videos += 1
    assert tally.summary() == (
        "2 pictures, 1 video (2 frames), 1 without a face, 1 that couldn't be read; "
        "3 faces: 1 bona fide, 1 generated, 1 unsure"
    )
    assert Tally().summary() == "nothing scanned; 0 faces"
