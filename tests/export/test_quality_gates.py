from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from fauxface.errors import CheckpointError
from fauxface.locator import Location
from fauxface_export import quality_gates
from fauxface_train.dataset import PreparedData


class Turning:
    """Finds a face whose head is turned and tilted by a degree more at each call; no face at each tenth."""

    def __init__(self):
        self.calls = 0

    def locate(self, image):
        self.calls += 1
        if self.calls % 10 == 0:
            return []
        turn, tilt = np.radians([self.calls % 40, self.calls % 20])
        half, nose = 20 * np.cos(turn), 20 * np.sin(turn)
        points = np.array([(-half, 0), (half, 0), (nose, 20), (-half, 40), (half, 40)])
        turner = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        return [Location((0, 0, 60, 60), tuple(map(tuple, (points @ turner.T).tolist())), 0.9)]


@pytest.fixture
def prepared(monkeypatch):
    monkeypatch.setattr(quality_gates, "load_stored", lambda _: np.zeros((8, 8, 3), np.uint8))

    def make(count):
        samples = [SimpleNamespace(split="val", source="camera")] * count
        return PreparedData.__new__(PreparedData), samples

    def build(count):
        data, samples = make(count)
        data._samples = samples
        return data

    return build


def loaded(**info):
    return SimpleNamespace(info=info, path="run")


def test_pose_reaches_beyond_what_validation_shows(prepared):
    got = quality_gates.field(loaded(gates={"min_sharpness": 12.5}), prepared(400), Turning())
    # 0.5 % of the faces lie beyond 39 and 19 degrees, rounded up from just below.
    assert got == {"gates": {"min_sharpness": 12.5, "max_yaw": 54.0, "max_roll": 34.0}}


def test_sources_that_training_left_out_choose_no_gate(prepared):
    config = {"exclude": ["cam*"]}
    assert quality_gates.field(loaded(config=config), prepared(400), Turning()) == {}


def test_few_faces_or_no_data_give_no_gate_on_pose(prepared):
    assert quality_gates.field(loaded(), prepared(150), Turning()) == {}
    assert quality_gates.field(loaded(), None, Turning()) == {}
    assert quality_gates.field(loaded(gates={"min_sharpness": 3}), None, Turning()) == {
        "gates": {"min_sharpness": 3}
    }


@pytest.mark.parametrize("gates", [{"min_sharpness": -1}, {"max_pitch": 3}, {"max_yaw": "wide"}])
def test_malformed_gates_of_a_checkpoint_are_refused(gates):
    with pytest.raises(CheckpointError, match="no valid gates"):
        quality_gates.field(loaded(gates=gates), None, Turning())
