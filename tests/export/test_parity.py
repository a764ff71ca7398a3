import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch

from fauxface.errors import GateError
from fauxface.verdicts import Calibration, Thresholds
from fauxface_export import parity


class Mean(torch.nn.Module):
    """Logits from the mean colour; buffers make `.to(float64)` matter."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([[-0.02, 0.01, 0.01], [0.02, -0.01, -0.01]]))

    def forward(self, crops):
        return (crops.to(self.weight.dtype).mean(dim=(1, 2)) @ self.weight.T).float()


BAND = Thresholds(0.3, 0.7)


def compare(backend, thresholds=BAND, crops=None):
    crops = parity.random_crops(5) if crops is None else crops
    return parity.compare(Mean().eval(), {"other": backend}, {"real": crops}, Calibration(), thresholds)


honest = parity.eager(Mean().eval())


def shifted(amount, at_batch=None):
    def run(crops):
        logits = honest(crops).copy()
        if at_batch in {None, len(crops)}:
            logits[0, 1] += amount
        return logits

    return run


def test_equal_backends_pass():
    report = compare(honest)
    report.require()
    assert {(row.backend, row.batch) for row in report.rows} == {
        (name, batch) for name in ("eager", "other") for batch in (1, 2, 8, 33)
    }
    assert all(row.crops == 5 and row.max_logit_error < 1e-5 for row in report.rows)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (shifted(2e-4), r"other at batch .* differs by 0\.0002 in a logit \(limit 0\.0001\)"),
        (shifted(2e-4, at_batch=33), r"failed in 1 of 8 comparisons; worst: other at batch 33"),
        (shifted(8e-5), r"failed in 4 of 8 .* by 2e-05 in probability"),
        (shifted(np.nan), r"differs by nan"),
        (lambda crops: -honest(crops), r"other at batch"),
    ],
    ids=["logit", "one batch size", "probability alone", "nan", "sign"],
)
def test_gate_fails(backend, message):
    # White and black have logits of 0, where the probability is steepest.
    crops = np.concatenate([np.full((1, 128, 128, 3), 255, np.uint8), parity.random_crops(2)])
    crops[1, ..., 0] = 255
    with pytest.raises(GateError, match=message):
        compare(backend, crops=crops).require()


def test_gate_fails_on_a_decision_within_the_limits():
    crops = np.zeros((1, 128, 128, 3), np.uint8)
    report = compare(shifted(-1e-5), Thresholds(0.5, 0.5), crops)
    row = max(
        (row for row in report.rows if row.backend == "other"), key=lambda row: row.max_logit_difference
    )
    assert row.max_logit_difference < parity.LOGIT_LIMIT
    assert row.max_probability_difference < parity.PROBABILITY_LIMIT
    with pytest.raises(GateError, match=r"0\.0% equal decisions"):
        report.require()


def test_batches_are_whole():
    sizes = []

    def run(crops):
        sizes.append(len(crops))
        return honest(crops)

    compare(run)
    assert sizes == [1] * 5 + [2] * 3 + [8] + [33]


def test_random_crops_are_the_same_every_time_and_of_two_kinds():
    crops = parity.random_crops(6)
    assert crops.shape == (6, 128, 128, 3)
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops, parity.random_crops(6))
    steps = np.abs(np.diff(crops.astype(int), axis=2)).mean(axis=(1, 2, 3))
    assert (steps[0::2] > 60).all()
    assert (steps[1::2] < 60).all()
