"""Which pictures are trained on, and the worker processes that make batches of them."""

import dataclasses
import multiprocessing
import os
import signal

import numpy as np
import pytest

pytest.importorskip("torch")

from fauxface.errors import DataError
from fauxface_train import loading
from fauxface_train.dataset import PreparedData
from fauxface_train.loading import batches
from fauxface_train.presets import Degradations


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_main_process(number):
    # In place of Views, something that a new process can load: pictures of nothing, each with its number.
    views = {(i, i): (np.zeros((1, 1, 3), np.uint8), i) for i in range(40)}
    found = batches(views, [[key] for key in views], workers=1)
    labels = []
    for _, label in found:
        if not labels:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, number)
        labels.append(int(label))
    assert labels == list(range(40))
    worker.join(10)
    assert worker.exitcode == 0


def test_excluded_sources_are_left_out(write_prepared):
    rows = [("train", label, f"{label}_{k}", 3, {}) for label in ("real", "fake") for k in "ab"]
    data = PreparedData.load(write_prepared(rows))
    kept = loading.chosen(data, "train", ("fake_a", "real_[xb]"))
    assert [s.source for s in kept] == ["real_a", "fake_b"]
    with pytest.raises(DataError, match="no fake"):
        loading.chosen(data, "train", ("fake_*",))


def test_pairs_hold_a_framed_and_a_degraded_view(prepared):
    hard = dataclasses.replace(Degradations(), gray=1.0, colour=0.0)
    with loading.decoded(PreparedData.load(prepared).samples("train"), 1 << 20) as crops:
        single, pair = (loading.Views(crops, hard, 7, pairs=pairs)[3, 5][0] for pairs in (False, True))
        saturation = [np.ptp(view.astype(int), axis=2).mean() for view in pair]
    assert pair.shape == (2, 128, 128, 3)
    assert np.array_equal(pair[1], single)
    assert saturation[1] < saturation[0] / 2


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
        assert [s.source for s in loading.joining(data, [extra, extra], ())] == ["y"]
    else:
        with pytest.raises(DataError, match=message):
            loading.joining(data, [extra], ())
        assert [s.source for s in loading.joining(data, [extra], ("x",))] == ["y"]


def test_reconstructions_of_an_excluded_source_are_left_out(write_prepared):
    rows = [("train", "real", name, 3, {"sha256": f"{n}" * 64}) for n, name in enumerate("ab", 1)]
    data = PreparedData.load(write_prepared(rows))
    made = [("train", "fake", "recon_x", 3, {"original": "recon_x:" + f"{n}" * 16}) for n in (1, 2)]
    extra = write_prepared(made, name="extra")
    kept = loading.joining(data, [extra], ("a",))
    assert [s.original for s in kept] == ["recon_x:" + "2" * 16]


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
        loading.joining(PreparedData.load(prepared), [extra], ())
