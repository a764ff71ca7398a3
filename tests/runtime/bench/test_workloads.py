import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fauxface.bench import workloads
from fauxface.bench.workloads import FaceQuery, FrameQuery, Judge, open_locator, scenes
from fauxface.bundle import Bundle
from fauxface.crops import face_square
from fauxface.gates import Gates
from fauxface.locator import Location
from fauxface.session import Classifier
from fauxface.video import Frame

TINY = Path(__file__).parents[2] / "data" / "tiny_bundle"
RED, GRAY = (255, 0, 0), (128, 128, 128)


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load(TINY)


@pytest.fixture(scope="module")
def judge(bundle):
    return Judge(bundle, Classifier(bundle.classifier_bytes(), provider="cpu", threads=1))


def picture(color):
    return np.full((480, 640, 3), color, np.uint8)


class FakeLocator:
    def __init__(self, boxes):
        self.boxes, self.seen = boxes, 0

    def locate(self, image):
        self.seen += 1
        return [Location(box, (), 0.9) for box in self.boxes]


def test_scenes_hold_the_golden_crops_where_the_crop_rule_cuts(bundle):
    crops, _ = bundle.golden()
    made = scenes(bundle)
    assert len(made) == len(crops)
    for (image, box), crop in zip(made, crops, strict=True):
        square = face_square(box, bundle.manifest.crop.margin)
        assert (square.side, image.shape) == (200, (480, 640, 3))
        cut = image[square.y : square.y + 200, square.x : square.x + 200]
        assert cut.mean((0, 1)) == pytest.approx(crop.mean((0, 1)), abs=1)


def test_a_query_gives_the_verdicts_of_the_next_faces(judge):
    box = (200.0, 150.0, 100.0, 100.0)
    query = FaceQuery(judge, [(picture(RED), box), (picture(GRAY), box), (picture(GRAY), box)], 2)
    assert [label for label, _ in query()] == ["generated", "bona_fide"]
    assert [label for label, _ in query()] == ["bona_fide", "generated"]


def test_a_blurred_face_is_unsure_as_in_a_scan(bundle, judge):
    gated = copy.copy(bundle)
    gated.manifest = dataclasses.replace(bundle.manifest, gates=Gates(min_sharpness=12))
    gated = Judge(gated, judge._classifier)
    query = FaceQuery(gated, [(picture(RED), (200.0, 150.0, 100.0, 100.0))], 1)
    assert query() == [("unsure", "face is blurred: sharpness 0, below 12")]


def test_small_faces_are_unsure_as_in_a_scan(judge):
    (verdict,) = FaceQuery(judge, [(picture(RED), (10.0, 10.0, 5.0, 5.0))], 1)()
    assert verdict[0] == "unsure"


def test_a_frame_s_faces_are_cut_without_turning_it_to_rgb(judge):
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    place = Location((200.0, 150.0, 100.0, 100.0), (), 0.9)
    frame = Frame(0, 0.0, np.ascontiguousarray(rgb[:, :, ::-1]), "BGR")
    np.testing.assert_array_equal(judge.crop_frame(frame, [place]), judge.crop([(rgb, place.box)]))


@pytest.mark.parametrize(
    ("boxes", "faces", "expected"),
    [
        ([], 0, 0),
        ([], 3, 3),
        ([(10.0, 10.0, 90.0, 90.0)], 3, 3),
        ([(10.0, 10.0, 90.0, 90.0)] * 5, 3, 3),
        ([(10.0, 10.0, 90.0, 90.0)] * 5, 0, 0),
    ],
)
def test_a_frame_has_the_same_load_whatever_is_in_it(judge, boxes, faces, expected):
    locator = FakeLocator(boxes)
    query = FrameQuery(locator, judge, [picture(RED), picture(GRAY)], faces)
    assert [len(query()), len(query())] == [expected, expected]
    assert locator.seen == 2


def test_frames_are_taken_in_turn(judge):
    query = FrameQuery(FakeLocator([]), judge, [picture(RED), picture(GRAY)], 1)
    assert [query()[0][0] for _ in range(3)] == ["generated", "bona_fide", "generated"]


def test_the_bundle_s_locator_is_used(bundle):
    image = np.zeros((160, 200, 3), np.uint8)
    image[40:120, 60:140] = 200
    (place,) = open_locator(bundle, 1).locate(image)
    assert place.box == pytest.approx((60, 40, 80, 80), abs=8)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_locator_goes_with_the_classifier(precision, with_int8_locator, monkeypatch):
    monkeypatch.setattr("fauxface.precision.int8_instructions", lambda bits=8: "avx512_vnni")
    opened = []
    monkeypatch.setattr(workloads.Locator, "from_spec", lambda data, *_, **options: opened.append(data))
    bundle = Bundle.load(with_int8_locator)
    open_locator(bundle, 1, precision)
    assert opened == [bundle.locator_bytes(precision)]


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (2, 2), (16, 4)])
def test_the_locator_has_the_threads_of_a_scan(bundle, monkeypatch, threads, expected):
    seen = {}
    monkeypatch.setattr(workloads.Locator, "from_spec", lambda *_, **options: seen.update(options))
    open_locator(bundle, threads)
    assert seen == {"threads": expected}
