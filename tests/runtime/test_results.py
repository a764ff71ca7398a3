import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fauxface.errors import ImageError
from fauxface.results import SCHEMA, Face, ItemError, Result

MODEL = "0123456789abcdef" * 4
SCHEMA_FILE = Path(__file__).parents[2] / "docs/result.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))

POINTS = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.0))
FACE = Face((-3.04, 5.06, 40.0, 50.0), POINTS, 0.98765, 0.123456789, "bona_fide", None, 50)
PICTURE = Result("a.jpg", None, None, None, (FACE,), MODEL)
NO_FACE = Result("a.jpg", None, None, ItemError("NoFaceError", "no face"), (), MODEL)

coordinate = st.floats(-1e6, 1e6)
size = st.floats(0, 1e6)
share = st.floats(0, 1)
faces = st.builds(
    Face,
    box=st.tuples(coordinate, coordinate, size, size),
    landmarks=st.sampled_from([(), POINTS]),
    locator_score=st.none() | share,
    p_generated=share,
    label=st.sampled_from(["bona_fide", "generated", "unsure"]),
    reason=st.none() | st.text(),
    face_px=st.integers(0, 10**6),
)


def test_json_form_is_rounded_and_complete():
    assert PICTURE.to_dict() == {
        "schema": "fauxface.result/1",
        "source": "a.jpg",
        "frame": None,
        "time_s": None,
        "error": None,
        "faces": [
            {
                "box": [-3.0, 5.1, 40.0, 50.0],
                "landmarks": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]],
                "locator_score": 0.9877,
                "p_generated": 0.123457,
                "label": "bona_fide",
                "reason": None,
                "face_px": 50,
            }
        ],
        "model": MODEL,
    }


@pytest.mark.parametrize(
    "result",
    [
        PICTURE,
        NO_FACE,
        Result("clip.mp4", 7, 0.28, None, (), MODEL),
        Result("clip.mp4", None, None, ItemError("VideoError", "ends early"), (), MODEL),
    ],
)
def test_examples_fit_the_schema(result):
    VALIDATOR.validate(result.to_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "fauxface.result/2"},
        {"frame": -1},
        {"frame": 3},
        {"time_s": 1.0},
        {"error": {"type": "ImageError", "message": "two\nlines"}},
        {"error": {"type": "ImageError", "message": "with faces"}},
        {"model": "short"},
        {"extra": 1},
    ],
)
def test_schema_refuses(change):
    assert not VALIDATOR.is_valid(PICTURE.to_dict() | change)


@given(
    source=st.text(min_size=1),
    position=st.none() | st.tuples(st.integers(0, 10**9), st.floats(0, 1e7)),
    found=st.lists(faces, max_size=3),
)
def test_line_fits_the_schema_and_reads_back(source, position, found):
    frame, time_s = position or (None, None)
    line = Result(source, frame, time_s, None, tuple(found), MODEL).to_json_line()
    assert line.isascii()
    assert "\n" not in line
    data = json.loads(line)
    VALIDATOR.validate(data)
    assert Result.from_dict(data).to_dict() == data


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_number_that_is_not_finite_is_refused(value):
    face = Face(FACE.box, POINTS, 0.5, value, "unsure", None, 50)
    with pytest.raises(ValueError, match="JSON"):
        Result("a.jpg", None, None, None, (face,), MODEL).to_json_line()


def test_broken_file_name_survives():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    line = Result(name, None, None, None, (), MODEL).to_json_line()
    assert Result.from_dict(json.loads(line)).source == name


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"schema": "fauxface.result/2"},
        {"schema": SCHEMA},
        PICTURE.to_dict() | {"source": 3},
        PICTURE.to_dict() | {"frame": "x"},
        PICTURE.to_dict() | {"error": "text"},
        PICTURE.to_dict() | {"faces": 1},
        PICTURE.to_dict() | {"faces": [{}]},
        PICTURE.to_dict() | {"faces": [FACE.to_dict() | {"box": [1, 2, 3]}]},
        PICTURE.to_dict() | {"faces": [FACE.to_dict() | {"label": None}]},
    ],
)
def test_from_dict_refuses(data):
    with pytest.raises(ValueError, match=r"fauxface\.result/1|invalid literal"):
        Result.from_dict(data)


@pytest.mark.parametrize(
    ("result", "readable"),
    [
        (PICTURE, True),
        (NO_FACE, True),
        (Result("a.jpg", None, None, ItemError("ImageError", "empty"), (), MODEL), False),
    ],
)
def test_readable(result, readable):
    assert result.readable is readable


def test_item_error_is_one_line():
    error = ItemError.of(ImageError("a\nb"))
    assert error.type == "ImageError"
    assert len(error.message.splitlines()) == 1
