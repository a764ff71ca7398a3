"""train/default_model/recent_generators.py: pictures out of the packages that show them."""

import importlib.util
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PATH = Path(__file__).parent.parent.parent / "train" / "default_model" / "recent_generators.py"
_spec = importlib.util.spec_from_file_location("recent_generators", PATH)
recent = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recent)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A package with a picture and a clip of five frames, each brighter than the one before."""
    monkeypatch.setattr(recent, "PREVIEWS", {"media": ("picture", "clip")})
    frames = [Image.new("RGB", (16, 12), (value,) * 3) for value in (10, 60, 110, 160, 210)]
    with zipfile.ZipFile(tmp_path / "comfyui_workflow_templates_media-1.0-py3-none-any.whl", "w") as archive:
        for name, shown in (("picture", frames[:1]), ("clip", frames)):
            file = io.BytesIO()
            shown[0].save(file, "WEBP", lossless=True, save_all=True, append_images=shown[1:])
            archive.writestr(f"comfyui_workflow_templates_media/templates/{name}.webp", file.getvalue())
    return tmp_path


def test_pictures_and_the_middle_frames_of_clips_are_written(wheels):
    assert recent.write(wheels, wheels / "out") == 2
    found = {path.name: np.asarray(Image.open(path)) for path in (wheels / "out").iterdir()}
    assert {name: (picture.shape, int(picture.mean())) for name, picture in found.items()} == {
        "picture.png": ((12, 16, 3), 10),
        "clip.png": ((12, 16, 3), 110),
    }


def test_a_missing_wheel_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match="holds 0 wheels of comfyui_workflow_templates_media_api"):
        recent.write(tmp_path, tmp_path / "out")
