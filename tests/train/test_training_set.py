"""Which pictures are trained on."""

import json

import pytest

from fauxface.errors import DataError
from fauxface_train import training_set
from fauxface_train.dataset import PreparedData


def test_excluded_sources_are_left_out(write_prepared):
    rows = [("train", label, f"{label}_{k}", 3, {}) for label in ("real", "fake") for k in ("a", "bb")]
    data = PreparedData.load(write_prepared(rows))
    kept = training_set.chosen(data, "train", ("fake_a", "real_?b"))
    assert [s.source for s in kept] == ["real_a", "fake_bb"]
    with pytest.raises(DataError, match="no fake"):
        training_set.chosen(data, "train", ("fake_*",))


@pytest.mark.parametrize(
    ("split", "label", "source", "message"),
    [
        ("train", "fake", "gan", None),
        ("train", "real", "camera", "1 train pictures of .* under the other label"),
        ("val", "fake", "gan", "1 train pictures of .* in another split"),
        ("test", "fake", "gan", "in another split"),
    ],
)
def test_added_pictures_that_the_data_hold_already(split, label, source, message, write_prepared):
    """A second copy isn't taken; a picture that is measured on, or has the other label, is refused."""
    same = {"sha256": "f" * 64}
    data = PreparedData.load(write_prepared([(split, label, source, 3, same), ("train", "fake", "b", 5, {})]))
    extra = write_prepared([("train", "fake", "x", 3, same), ("train", "fake", "y", 4, {})], name="extra")
    if message is None:
        assert [s.source for s in training_set.joining(data, [extra, extra], ())] == ["y"]
    else:
        with pytest.raises(DataError, match=message):
            training_set.joining(data, [extra], ())
        assert [s.source for s in training_set.joining(data, [extra], ("x",))] == ["y"]


def test_reconstructions_of_an_excluded_source_are_left_out(write_prepared):
    rows = [("train", "real", name, 3, {"sha256": f"{n}" * 64}) for n, name in enumerate("ab", 1)]
    data = PreparedData.load(write_prepared(rows))
    made = [("train", "fake", "recon_x", 3, {"original": "recon_x:" + f"{n}" * 16}) for n in (1, 2)]
    extra = write_prepared(made, name="extra")
    kept = training_set.joining(data, [extra], ("a",))
    assert [s.original for s in kept] == ["recon_x:" + "2" * 16]


def test_reconstructions_are_known_by_what_they_are_made_of(write_prepared):
    rows = [("train", "real", "a", 3, {"sha256": "1" * 64}), ("train", "fake", "gan", 4, {})]
    data = PreparedData.load(write_prepared(rows))
    made = [
        ("train", "fake", f"recon_{kind}", n, {"original": f"recon_{kind}:" + "1" * 16})
        for n, kind in enumerate("xy", 5)
    ]
    samples = [
        *data.samples("train"),
        *PreparedData.load(write_prepared(made, name="extra")).samples("train"),
    ]
    shares = {"gan": 0.5, "recon_x": 0.3, "recon_y": 0.2}
    assert training_set.of_reconstructions(samples, shares) == pytest.approx(0.5)
    assert training_set.of_reconstructions(samples[:2], {"gan": 1.0}) == 0


@pytest.mark.parametrize("split", ["val", "test"])
def test_reconstructions_of_what_is_measured_on_are_refused(split, write_prepared):
    rows = [("train", "real", "a", 3, {"sha256": "1" * 64}), (split, "real", "a", 4, {"sha256": "2" * 64})]
    data = PreparedData.load(write_prepared(rows))
    made = [("train", "fake", "recon_x", 3, {"original": "recon_x:" + f"{n}" * 16}) for n in (1, 2)]
    extra = write_prepared(made, name="extra")
    with pytest.raises(DataError, match=r"1 train pictures of .* are made of what is, in another"):
        training_set.joining(data, [extra], ())


@pytest.mark.parametrize(
    ("rows", "margin", "message"),
    [
        ([("train", "fake", "gan", 1, {})], 1.5, "another crop rule"),
        ([("val", "fake", "gan", 1, {})], 1.2, "no train split to add"),
    ],
)
def test_data_that_cannot_be_added(prepared, write_prepared, rows, margin, message):
    extra = write_prepared(rows, name="extra", margin=margin)
    with pytest.raises(DataError, match=message):
        training_set.joining(PreparedData.load(prepared), [extra], ())


@pytest.mark.parametrize(
    ("key", "mine", "theirs", "refused"),
    [
        ("locator_sha256", "a" * 64, "b" * 64, True),
        ("locator_sha256", "a" * 64, "a" * 64, False),
        ("locator_sha256", "a" * 64, None, False),
        ("locator", {"max_side": 640}, {"max_side": 1280}, True),
    ],
)
def test_pictures_cut_with_another_locator_are_refused(key, mine, theirs, refused, write_prepared):
    data = PreparedData.load(write_prepared([("train", "real", "a", 3, {})]))
    extra = write_prepared([("train", "fake", "x", 4, {})], name="extra")
    data.info[key] = mine
    info = json.loads((extra / "prepare.json").read_text())
    (extra / "prepare.json").write_text(json.dumps(info | {key: theirs}))
    if refused:
        with pytest.raises(DataError, match="with another locator than"):
            training_set.joining(data, [extra], ())
    else:
        assert len(training_set.joining(data, [extra], ())) == 1


@pytest.mark.parametrize(
    ("info", "patterns"),
    [
        ({}, ()),
        ({"config": {"exclude": None}}, ()),
        ({"config": {"exclude": ["a*"]}}, ["a*"]),
        ({"config": 3}, ()),
    ],
)
def test_what_a_training_left_out_is_known(info, patterns):
    assert training_set.excluded(info) == patterns
