from pathlib import Path

import cv2
import numpy as np
import pytest

from fauxface.following import REGION, Follower, locate_frame
from fauxface.locator import Location, Locator
from fauxface.video import Frame

TINY = (Path(__file__).parents[1] / "data/tiny_bundle/locator.onnx").read_bytes()


class Blobs:
    """A locator whose faces are the bright areas; notes the sizes of what it sees."""

    def __init__(self):
        self.seen = []

    def locate(self, image):
        self.seen.append(image.shape[1::-1])
        _, _, stats, _ = cv2.connectedComponentsWithStats((image.max(axis=2) > 100).astype(np.uint8))
        found = [
            Location(tuple(map(float, box)), ((box[0] + box[2] / 2, box[1] + box[3] / 2),) * 5, 0.9)
            for box in stats[1:, :4].tolist()
        ]
        return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)


def frame(index, *boxes, size=(640, 480), fps=25.0, order="RGB"):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = 255
    return Frame(index, index / fps, image, order)


def run(follower, frames):
    return [[face.box for face in follower.locate(shown)] for shown in frames]


def test_every_frame_is_searched_fully_by_default():
    locator = Blobs()
    run(Follower(locator, 1), [frame(i, (100, 100, 60, 60)) for i in range(5)])
    assert locator.seen == [(640, 480)] * 5


def test_moving_faces_are_followed_between_full_searches():
    locator = Blobs()
    follower = Follower(locator, 4)
    paths = [[(100 + 9 * i, 80 + 6 * i, 80, 90), (400 - 4 * i, 300, 50, 50)] for i in range(9)]
    found = run(follower, [frame(i, *boxes) for i, boxes in enumerate(paths)])
    for boxes, expected in zip(found, paths, strict=True):
        np.testing.assert_allclose(boxes, expected, atol=1.5)
    full = [(640, 480)]
    near = [(REGION, REGION)] * 2
    assert locator.seen == full + 3 * near + full + 3 * near + full
    assert (follower.full, follower.followed) == (3, 6)


def test_landmarks_are_in_pixels_of_the_frame():
    follower = Follower(Blobs(), 10)
    follower.locate(frame(0, (300, 200, 80, 80)))
    (face,) = follower.locate(frame(1, (310, 204, 80, 80)))
    assert face.landmarks[0] == pytest.approx((350, 244), abs=1.5)


@pytest.mark.parametrize(
    ("later", "why"),
    [
        ([], "gone"),
        ([(400, 300, 60, 60)], "far away"),
        ([(100, 100, 20, 20)], "another size"),
        ([(100, 100, 160, 160)], "cut off by the region"),
    ],
)
def test_loss_leads_to_a_full_search_of_the_same_frame(later, why):
    locator = Blobs()
    follower = Follower(locator, 100)
    run(follower, [frame(0, (100, 100, 60, 60)), frame(1, *later)])
    assert locator.seen == [(640, 480), (REGION, REGION), (640, 480)], why
    assert follower.full == 2


def test_following_that_fails_again_and_again_pauses():
    locator = Blobs()
    follower = Follower(locator, 100)
    places = [(20, 20), (560, 400)]
    frames = [frame(i, (*places[i % 2], 60, 60), fps=1000.0) for i in range(80)]
    run(follower, frames)
    assert (follower.full, follower.followed) == (80, 0)
    attempts = [i for i, size in enumerate(locator.seen) if size == (REGION, REGION)]
    # Each attempt stands before the full search of its frame, so the gaps are the pauses plus two.
    assert np.diff(attempts).tolist() == [2, 4, 8, 16, 18, 18, 18]
    followed = [frame(80 + i, (100, 100, 60, 60), fps=1000.0) for i in range(40)]
    run(follower, followed)
    assert follower.followed > 15


def test_a_face_at_the_border_is_followed_and_not_its_mirror_image():
    follower = Follower(Blobs(), 100)
    found = run(follower, [frame(0, (8, 200, 60, 60)), frame(1, (4, 200, 60, 60))])
    np.testing.assert_allclose(found[1], [(4, 200, 60, 60)], atol=1.5)
    assert follower.followed == 1


def test_two_faces_that_became_one_are_a_loss():
    locator = Blobs()
    follower = Follower(locator, 100)
    run(follower, [frame(0, (100, 100, 60, 60), (165, 100, 60, 60)), frame(1, (132, 100, 60, 60))])
    assert locator.seen[-1] == (640, 480)


@pytest.mark.parametrize(("fps", "full"), [(30, [0, 30]), (10, [0, 10, 20, 30]), (1, list(range(31)))])
def test_a_full_search_at_least_every_second(fps, full):
    follower = Follower(Blobs(), 1000)
    found = []
    for i in range(31):
        before = follower.full
        follower.locate(frame(i, (100, 100, 60, 60), fps=fps))
        if follower.full > before:
            found.append(i)
    assert found == full


def test_a_clock_that_jumps_back_leads_to_a_full_search():
    follower = Follower(Blobs(), 1000)
    follower.locate(Frame(0, 5.0, frame(0).pixels))
    follower.locate(Frame(1, 0.1, frame(0).pixels))
    assert follower.full == 2


def test_frames_of_another_size_are_searched_fully():
    follower = Follower(Blobs(), 1000)
    run(follower, [frame(0, (100, 100, 60, 60)), frame(1, (100, 100, 60, 60), size=(320, 240))])
    assert follower.full == 2


def test_an_empty_frame_stays_empty_until_the_next_full_search():
    follower = Follower(Blobs(), 3)
    found = run(follower, [frame(0), frame(1, (90, 90, 50, 50)), frame(2), frame(3, (90, 90, 50, 50))])
    assert [len(boxes) for boxes in found] == [0, 0, 0, 1]


def test_many_faces_are_searched_fully_since_their_regions_would_cost_more():
    boxes = [(10 + 100 * (i % 4), 10 + 80 * (i // 4), 50, 50) for i in range(12)]
    follower = Follower(Blobs(), 100)
    run(follower, [frame(i, *boxes) for i in range(3)])
    assert follower.full == 3


def test_a_network_of_one_input_size_searches_fully_while_there_are_faces():
    locator = Locator(TINY)
    locator._fixed = (480, 640)
    follower = Follower(locator, 100)
    for i in range(3):
        assert follower.locate(frame(i, (200, 150, 90, 110)))
    assert (follower.full, follower.followed) == (3, 0)
    for i in range(3, 6):
        assert not follower.locate(frame(i))
    assert (follower.full, follower.followed) == (4, 2)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_our_locator_follows_too(order):
    follower = Follower(Locator(TINY), 100)
    for i in range(5):
        (face,) = follower.locate(frame(i, (200 + 8 * i, 150, 90, 110), order=order))
        np.testing.assert_allclose(face.box, (200 + 8 * i, 150, 90, 110), atol=3)
    assert (follower.full, follower.followed) == (1, 4)


def test_other_locators_get_rgb():
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 0] = 200

    class Note:
        def locate(self, image):
            return [image[0, 0].tolist()]

    assert locate_frame(Note(), Frame(0, 0.0, image, "BGR")) == [[0, 0, 200]]
    assert locate_frame(Note(), Frame(0, 0.0, image, "RGB")) == [[200, 0, 0]]


@pytest.mark.parametrize("every", [0, -3])
def test_every_below_one_is_refused(every):
    with pytest.raises(ValueError, match="locate_every"):
        Follower(Blobs(), every)
