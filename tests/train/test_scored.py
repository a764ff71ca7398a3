from pathlib import Path

import numpy as np
import pytest

from fauxface_train import scored
from fauxface_train.dataset import PreparedData


@pytest.mark.parametrize(
    ("age", "band"),
    [(None, ""), (0, "0-12"), (12, "0-12"), (13, "13-19"), (39, "20-39"), (60, "60+"), (116, "60+")],
)
def test_age_band(age, band):
    assert scored.age_band(age) == band


def test_what_the_manifest_knows_is_joined(write_prepared):
    known = {"age": 34, "gender": "female", "race": "asian"}
    data = PreparedData.load(
        Path(write_prepared([("test", "real", "web", 3, known), ("test", "fake", "gan", 9, {})]))
    )
    found = scored.attach(data.samples(), np.array([0.25, 0.5], np.float32))
    assert (found.p.dtype, found.p.tolist()) == (np.float64, [0.25, 0.5])
    assert found.labels.tolist() == [0, 1]
    assert found.sources.tolist() == ["web", "gan"]
    attributes = {name: values.tolist() for name, values in found.attributes.items()}
    assert attributes == {"age_band": ["20-39", ""], "gender": ["female", ""], "race": ["asian", ""]}
