"""train/default_model/average.py: the mean of two runs' weights."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

PATH = Path(__file__).parent.parent.parent / "train" / "default_model" / "average.py"
_spec = importlib.util.spec_from_file_location("average", PATH)
average = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(average)
Deployed, build = average.Deployed, average.build


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (128, 128, 128, 3), np.uint8)


def nets():
    for seed in (1, 2):
        torch.manual_seed(seed)
        yield build().eval()


def test_every_weight_is_the_mean_and_batch_norm_is_measured(faces):
    one, other = nets()
    got = average.mean([one, other], faces)
    assert not got.training
    for (name, value), a, b in zip(got.named_parameters(), one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(value, (a + b) / 2), name
    first = got.bn1
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).float()
    module = Deployed(got)
    with torch.no_grad():
        seen = got.conv1(pixels * module.scale + module.offset)
    assert torch.allclose(first.running_mean, seen.mean((0, 2, 3)), atol=1e-4)
    assert first.momentum == build().bn1.momentum


def test_the_mean_of_a_network_with_itself_decides_as_it_does_in_training_mode(faces):
    one, _ = nets()
    got = average.mean([one, one], faces[:64])
    with torch.no_grad():
        wanted = Deployed(one).train()(torch.from_numpy(faces[:64]))
        found = Deployed(got).eval()(torch.from_numpy(faces[:64]))
    assert torch.allclose(found, wanted, atol=0.05)


def test_the_mean_was_trained_on_what_either_was():
    further = {"manifest_sha256": "b", "prepare_sha256": "c"}
    weights = {
        "manifest_sha256": "a",
        "added": [further],
        "train": {"real": {"x": 1}, "fake": {"y": 2, "z": 3}},
    }
    run = {"manifest_sha256": "a", "train": {"real": {"x": 1}, "fake": {"y": 2}}, "val": {"real": {"x": 4}}}
    assert average.joined(run, weights) == {
        "manifest_sha256": "a",
        "added": [further],
        "train": {"real": {"x": 1}, "fake": {"y": 2, "z": 3}},
        "val": {"real": {"x": 4}},
    }
    assert average.joined(weights, run) == weights
    assert "added" not in average.joined(run, run)


def test_weights_of_other_data_are_refused():
    run = {"manifest_sha256": "a", "train": {}}
    with pytest.raises(average.DataError, match="same prepared data"):
        average.joined(run, {"manifest_sha256": "b", "train": {}})
    with pytest.raises(average.DataError, match="same prepared data"):
        average.joined(run, {})


def test_the_cycles_before_are_told_in_order():
    first = {"command": "a", "commit": "1", "samples": 5, "seconds": 2.0, "device": "cpu"}
    second = {"command": "b", "commit": "2", "samples": 3, "seconds": 1.0, "before": average.cycles(first)}
    assert average.cycles(second) == [
        {"command": "a", "commit": "1", "samples": 5, "seconds": 2.0},
        {"command": "b", "commit": "2", "samples": 3, "seconds": 1.0},
    ]


def test_other_data_and_a_folder_that_holds_a_checkpoint_are_refused(write_prepared, tmp_path):
    data = write_prepared([("train", "real", "a", 3, {})])
    run = tmp_path / "run"
    info = average.checkpoint.describe(
        margin=1.2, config={}, data={"manifest_sha256": "a" * 64, "train": {}}, provenance={}
    )
    average.checkpoint.save(run / "best", build().state_dict(), info)
    with pytest.raises(average.DataError, match="isn't the data that"):
        average.main(data, tmp_path / "out", run, "none")
    with pytest.raises(average.OutputError, match="holds a checkpoint already"):
        average.main(data, run, run, "none")


def test_batch_norm_sees_no_excluded_source(write_prepared):
    rows = [("train", label, source, red, {}) for label, source, red in SOURCES]
    data = average.PreparedData.load(write_prepared(rows))
    assert len(average.train_faces(data)) == 3
    assert len(average.train_faces(data, ("gan_b",))) == 2


SOURCES = (("real", "a", 1), ("fake", "gan_a", 2), ("fake", "gan_b", 3))
