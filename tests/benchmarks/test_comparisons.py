"""How far a configuration's answers may be from the reference's, and from a peer's."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

import classifier
import face_to_verdict
import video
from fauxface.bundle import Bundle
from fauxface.errors import GateError, VideoError
from fauxface.manifest import OperatingPoint
from fauxface.verdicts import Calibration, Thresholds
from fauxface_export.golden import patterns

POINT = OperatingPoint(Calibration(), Thresholds(0.3, 0.7))


def test_a_configuration_that_answers_otherwise_is_refused():
    expected = np.array([[2.0, -2.0], [-2.0, 2.0]] * 5)
    found = classifier.check("openvino fp32", expected + np.array([0, 5e-4]), expected, POINT)
    assert found == {"max_logit_difference": 0.0005, "rms_logit_difference": 0.0005, "equal_labels": 1.0}
    with pytest.raises(GateError, match="opencv answers otherwise"):
        classifier.check("opencv", expected + 0.002, expected, POINT)
    assert classifier.check("openvino", expected * 1.1, expected, POINT)["equal_labels"] == 1.0
    for wrong in (expected * 1.2, -expected, np.full_like(expected, np.nan), expected[:3]):
        with pytest.raises(GateError, match=r"means? nothing"):
            classifier.check("openvino", wrong, expected, POINT)


def test_lower_precision_is_held_to_the_logits_of_the_shipped_classifier():
    from fauxface.session import Classifier

    shipped = Bundle.load()
    crops = classifier.compared(shipped)
    assert crops.shape == (2 * len(shipped.golden()[0]), 128, 128, 3)
    np.testing.assert_array_equal(crops[: len(crops) // 2], shipped.golden()[0])
    expected = classifier._expected(shipped, crops)
    found = Classifier(shipped.classifier_bytes("int8"), provider="cpu").logits(crops)
    point = shipped.manifest.operating_point()
    assert len(set(classifier.labels(expected, point))) > 1
    checked = classifier.check("fauxface int8", found, expected, point)
    assert checked["equal_labels"] > 0.9
    log_odds = checked["rms_logit_difference"] / point.calibration.temperature
    assert log_odds < face_to_verdict.OWN_NEAR
    pictures = len(crops) // 2 - len(patterns())
    faces = np.r_[:pictures, len(crops) // 2 : len(crops) // 2 + pictures]
    patterned = np.setdiff1d(np.arange(len(crops)), faces)
    assert classifier.labels(found[patterned], point) == classifier.labels(expected[patterned], point)
    for wrong in (np.zeros_like(found), found[:, ::-1], np.roll(found, 1, axis=0), found[::-1], 1.5 * found):
        with pytest.raises(GateError, match="fauxface int8 answers otherwise"):
            classifier.check("fauxface int8", wrong, expected, point)


def test_verdicts_of_one_face_are_compared():
    def of(*labels):
        return [{"p": 0.1 * i, "label": label} for i, label in enumerate(labels, 1)]

    answers = {"fauxface fp32": of("a", "b"), "article": of("a", "c")}
    found = face_to_verdict.compare(answers, "fauxface fp32")
    assert found["article"] == {
        "max_probability_difference": 0.0,
        "rms_log_odds_difference": 0.0,
        "equal_labels": 0.5,
    }
    with pytest.raises(GateError, match="article judges 100% of the faces otherwise"):
        face_to_verdict.compare({**answers, "article": of("x", "y")}, "fauxface fp32")


FACES = (0.0121, 0.0078, 0.0956, 0.1541, 0.0168, 0.0461)
"""What the shipped classifier says of the six faces."""


@pytest.mark.parametrize(
    ("name", "p", "holds"),
    [
        ("article", (0.0122, 0.0086, 0.0956, 0.1629, 0.0177, 0.0479), True),
        ("fauxface int8", (0.0125, 0.0081, 0.1144, 0.1363, 0.0163, 0.0497), True),
        ("article", (0.012, 0.007, 0.348, 0.104, 0.017, 0.058), False),  # red and blue exchanged
        ("article", (0.004, 0.014, 0.059, 0.11, 0.028, 0.016), False),  # mirrored
        ("article", (0.018, 0.004, 0.045, 0.313, 0.04, 0.055), False),  # another margin
        ("fauxface int8", (0.019, 0.005, 0.067, 0.149, 0.019, 0.048), False),  # another kernel
        ("article", (0.2943,) * 6, False),  # logits of zero
        ("article", FACES[1:] + FACES[:1], False),
        ("article", (float("nan"),) * 6, False),
        ("opencv", (0.0, 1.0, *FACES[2:]), False),
    ],
)
def test_a_miswired_peer_is_refused_though_its_labels_are_equal(name, p, holds):
    def of(values):
        return [{"p": value, "label": "bona_fide"} for value in values]

    answers = {"fauxface fp32": of(FACES), name: of(p)}
    if holds:
        assert face_to_verdict.compare(answers, "fauxface fp32")[name]["rms_log_odds_difference"] < 0.2
        return
    with pytest.raises(GateError, match=f"{name} differs from fauxface fp32 by"):
        face_to_verdict.compare(answers, "fauxface fp32")


def face(x, label="bona_fide", reason=None, p=0.1):
    return {"box": [x, 0.0, 100.0, 100.0], "p": p, "label": label, "reason": reason}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [5, 0, 10, 10], 1 / 3),
        ([0, 0, 10, 10], [10, 0, 10, 10], 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
    ],
)
def test_overlap_of_boxes(first, second, expected):
    assert video.iou(first, second) == pytest.approx(expected)


def test_each_face_is_paired_once_with_the_best_overlap():
    ours, theirs = [face(0), face(20)], [face(18), face(500)]
    assert video.pairs(ours, theirs) == [(ours[1], theirs[0])]


def test_verdicts_count_where_both_judged():
    refused = face(300, "unsure", "face is 12 px, smaller than 40 px")
    between = face(600, "unsure", "probability 0.500 lies between the thresholds 0.300 and 0.700")
    ours = [[face(0), refused, between], [face(0, "generated")]]
    small = face(900, "generated", "too small")
    theirs = [[face(5, p=0.4), face(300), face(600, "unsure"), small], [face(0)]]
    assert video.compare(ours, theirs) == {
        "frames": 2,
        "ours": 3,
        "theirs": 4,
        "both": 3,
        "refused": 1,
        "equal": 2,
        "labels": {"bona_fide": 1, "unsure": 1, "generated": 1},
        "p_difference": {"mean": 0.1, "max": 0.3},
        "agreement": 0.6667,
        "located": 1.0,
    }
    unseen = video.compare([[], []], theirs)
    assert (unseen["agreement"], unseen["located"]) == (None, 0.0)
    assert (unseen["labels"], unseen["p_difference"]) == ({}, None)
    assert video.compare([[]], [[]])["located"] is None


@pytest.mark.parametrize(
    ("p", "size", "judged"), [(0.1, 90, True), (0.5, 90, True), (0.9, 90, True), (0.9, 12, False)]
)
def test_a_reason_tells_whether_a_face_was_judged(p, size, judged):
    _, reason = Thresholds(0.3, 0.7).verdict(p, size, 40)
    assert video.judged({"reason": reason}) is judged


def test_faces_count_that_another_peer_finds_too():
    shoe, near = face(400), face(30)
    theirs = [[face(0), shoe], [face(0)]]
    assert video.confirmed(theirs, [[[near], []], [[], [face(500)]]]) == [[face(0)], []]
    assert video.confirmed(theirs, []) == theirs
    found = video.agreements({"clip": {"fauxface int8": [[face(0)]], "a": [[face(0), shoe]], "b": [[near]]}})
    assert found["clip"]["fauxface int8"]["a"]["theirs"] == 1
    assert list(found["clip"]["fauxface int8"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ([[face(0)]], "different numbers of frames of clip: fauxface int8 2, peer 1"),
        ([[face(0, "generated")], [face(0, "generated")]], "peer gives most faces another verdict"),
    ],
)
def test_a_peer_that_cant_be_of_the_same_classifier_ends_the_run(theirs, message):
    with pytest.raises(GateError, match=message):
        video.agreements({"clip": {"fauxface int8": [[face(0)], [face(0)]], "peer": theirs}})


@pytest.mark.parametrize("given", [["absent.mp4"], ["a/clip.mp4", "b/clip.mp4"]])
def test_clips_must_exist_and_differ(tmp_path, given):
    for name in ("a/clip.mp4", "b/clip.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(VideoError, match="give each clip once"):
        video.clips([str(tmp_path / name) for name in given], tmp_path)
    named = [f"{name[0]}={tmp_path / name}" for name in ("a/clip.mp4", "b/clip.mp4")]
    assert video.clips(named, tmp_path) == {name: tmp_path / name / "clip.mp4" for name in "ab"}
