import json

import pytest

from fauxface.video import FrameReader

pytestmark = pytest.mark.usefixtures("load")


def test_results_name_format_model_machine_and_versions(load, scanner, tmp_path):
    load("recording").save(tmp_path / "new" / "a.json", "thing", scanner.bundle, {"rows": [1]})
    data = json.loads((tmp_path / "new" / "a.json").read_text())
    assert data["format"] == "fauxface.thing/1"
    assert data["rows"] == [1]
    assert data["model"] == scanner.bundle.sha256
    assert data["machine"]["cores"] >= 1
    assert {"python", "numpy"} <= set(data["versions"])
    assert any(name.startswith("onnxruntime") for name in data["versions"])


def test_the_clip_of_our_own_has_the_frames_asked_for(load, tmp_path):
    with FrameReader(load("recording").make_clip(tmp_path / "a.mp4", 3, (320, 180))) as reader:
        frames = list(reader)
    assert [frame.image.shape for frame in frames] == [(180, 320, 3)] * 3
    assert (frames[0].image != frames[2].image).any()


def test_percentiles_and_rates(load):
    recording = load("recording")
    assert recording.ms([0.001, 0.002, 0.003]) == 2.0
    assert recording.ms([0.0, 0.01], 90) == 9.0
    assert recording.rate(30, 1.5) == 20.0
