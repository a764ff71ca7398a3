import numpy as np
import pytest

from fauxface.crops import extract, face_square, to_input
from fauxface.cutting import Item, cut, cut_frame, with_error
from fauxface.errors import VideoError
from fauxface.locator import Location
from fauxface.video import Frame

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (300, 400, 3), np.uint8)
BOXES = [
    (50.0, 40.0, 200.0, 170.0),
    (-30.0, -20.0, 90.0, 90.0),
    (100.0, 90.0, 128.0, 128.0),
    (390, 290, 40, 40),
]
PLACES = [Location(box, (), 0.9) for box in BOXES]


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_crops_are_bit_equal_to_those_of_the_rgb_picture(order):
    frame = Frame(7, 0.5, PIXELS, order)
    item = cut("a.png", frame, PLACES, 1.1)
    assert item.places == PLACES
    for box, crop in zip(BOXES, item.crops, strict=True):
        assert crop.flags.c_contiguous
        np.testing.assert_array_equal(crop, to_input(extract(frame.image, face_square(box, 1.1))))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_without_places_the_central_square_is_cut(order):
    frame = Frame(0, 0.0, PIXELS, order)
    item = cut("a.png", frame, None, 1.0)
    assert item.places[0].box == (50, 0, 300, 300)
    np.testing.assert_array_equal(item.crops[0], to_input(frame.image[:, 50:350]))


def test_a_crop_of_the_right_size_leaves_the_picture_as_it_is():
    pixels = PIXELS[:128, :128].copy()
    kept = pixels.copy()
    item = cut("a.png", Frame(0, 0.0, pixels, "BGR"), None, 1.0)
    np.testing.assert_array_equal(item.crops[0], kept[:, :, ::-1])
    np.testing.assert_array_equal(pixels, kept)


@pytest.mark.parametrize("picture", [True, False])
def test_a_frame_is_kept_only_where_asked_for(picture):
    item = cut_frame("clip", Frame(3, 0.1, PIXELS), lambda _: PLACES, 1.0, picture=picture)
    assert (item.frame, item.time_s, len(item.crops)) == (3, 0.1, 4)
    assert (item.picture is not None) == picture
    assert item.cost == (300 * 400 if picture else 0)


def test_a_video_that_breaks_off_ends_with_its_error():
    def items():
        yield Item("clip", frame=0)
        raise VideoError("the video ends early")

    first, last = with_error(items(), "clip")
    assert first.frame == 0
    assert last.error is not None
    assert (last.error.type, last.error.message, last.frame) == ("VideoError", "the video ends early", None)


def failing():
    raise VideoError("no frame could be decoded")
    yield


@pytest.mark.parametrize("items", [lambda: iter(()), failing])
def test_a_video_without_frames_is_an_error(items):
    with pytest.raises(VideoError, match="no frame"):
        list(with_error(items(), "clip"))


@pytest.mark.parametrize(
    "pixels", [PIXELS / np.float32(255), PIXELS.astype(np.uint16), PIXELS[:, :, 0], PIXELS[:0]]
)
def test_a_frame_that_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match=r"a frame must be uint8 \[H, W, 3\]"):
        cut_frame("clip", Frame(0, 0.0, pixels), None, 1.0, picture=False)
