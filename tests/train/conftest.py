import csv
import hashlib
import json

import cv2
import numpy as np
import pytest


@pytest.fixture
def write_prepared(tmp_path):
    """Return a function that writes prepared data of plain colours, so that a test can steer every score.

    Rows are (split, label folder, source, redness in 0 to 127, extra columns); a crop's colour is
    (128 + redness, 128, 128), inside a frame of blue room that the nominal square leaves out.
    """

    def write(rows, name="prepared", margin=1.2, faces="locate"):
        from fauxface_train.dataset import COLUMNS, FORMAT

        root = tmp_path / name
        root.mkdir()
        table = []
        for number, (split, label, source, redness, extra) in enumerate(rows):
            image = np.zeros((40, 40, 3), np.uint8)
            image[..., 2] = 255
            image[4:36, 4:36] = (128 + redness, 128, 128)
            path = f"crops/{split}/{label}/{source}/{number:016x}.png"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / path), image[..., ::-1])
            values = dict.fromkeys(COLUMNS, "") | {
                "crop": path,
                "split": split,
                "label": label,
                "source": source,
                "sha256": hashlib.sha256(f"{name} {number}".encode()).hexdigest(),
                "width": 100,
                "height": 100,
                "box_x": 10,
                "box_y": 10,
                "box_w": 60,
                "box_h": 60,
                "square_x": 4,
                "square_y": 4,
                "square_side": 32,
            }
            table.append(values | extra)
        with (root / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)
        info = {"format": FORMAT, "faces": faces, "crop": {"margin": margin}, "room": 1.25}
        (root / "prepare.json").write_text(json.dumps(info))
        return root

    return write


@pytest.fixture
def prepared(write_prepared):
    """Prepared data of one camera and one generator, each with train and val, that are easily told apart."""
    real, fake = [0, 4, 8, 12, 16, 20], [90, 95, 100, 105, 110, 115]
    rows = [
        (split, label, source, redness, {})
        for split in ("train", "val")
        for label, source, levels in (("real", "camera", real), ("fake", "gan", fake))
        for redness in levels
    ]
    return write_prepared(rows)


@pytest.fixture
def steered(write_prepared):
    """Prepared data whose tiny-bundle probabilities are known: 0.12 at redness 0, above 0.99 at 100."""
    known = {"age": 30, "gender": "female", "race": "indian"}
    rows = [("test", "real", "camera", redness, known) for redness in (0, 0, 5, 100)]
    rows += [("test", "real", "phone", redness, {}) for redness in (0, 10, 30)]
    rows += [("test", "fake", "gan", redness, {}) for redness in (100, 100, 90, 80)]
    rows += [("test", "fake", "diffusion", redness, {}) for redness in (0, 25, 100)]
    rows += [("val", "real", "camera", 0, {})]
    return write_prepared(rows)


@pytest.fixture
def narrow_network(monkeypatch):
    """Train a network of the same kinds of layers that is a thousand times smaller."""
    from collections import OrderedDict

    from torch import nn

    from fauxface_train import checkpoint, trainer

    def narrow():
        layers = [nn.Conv2d(3, 4, 8, 8, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        return nn.Sequential(OrderedDict(body=nn.Sequential(*layers), flat=nn.Flatten(), fc=nn.Linear(4, 2)))

    monkeypatch.setattr(trainer, "build", narrow)
    monkeypatch.setattr(checkpoint, "build", narrow)


@pytest.fixture(scope="session")
def drawn_faces(tmp_path_factory):
    """A folder with faces/ (8 drawn ones) and backgrounds/ (4 pictures of noise)."""
    root = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(0)
    for folder, count in (("faces", 8), ("backgrounds", 4)):
        (root / folder).mkdir()
        for number in range(count):
            if folder == "faces":
                picture = np.full((80, 80, 3), rng.integers(0, 256, 3), np.uint8)
                skin = tuple(int(v) for v in rng.integers(80, 220, 3))
                cv2.ellipse(picture, (40, 40), (22, 28), 0, 0, 360, skin, -1)
                for x in (32, 48):
                    cv2.circle(picture, (x, 34), 4, (20, 20, 20), -1)
                cv2.line(picture, (32, 54), (48, 54), (30, 30, 120), 3)
            else:
                picture = cv2.resize(rng.integers(0, 256, (6, 9, 3), np.uint8), (150, 100))
            assert cv2.imwrite(str(root / folder / f"{number}.png"), picture)
    return root


@pytest.fixture(scope="session")
def tiny_locator_shape():
    from fauxface_train.locator.net import Shape

    return Shape(stem=4, early=4, stages=(8, 8, 8), blocks=(0, 1, 0, 0), neck=8, heads=0)


@pytest.fixture(scope="session")
def random_teacher(tmp_path_factory, tiny_locator_shape):
    """A locator in YuNet's format: a random network whose scores reach across the threshold."""
    import torch

    from fauxface_train.locator.export import export_locator
    from fauxface_train.locator.net import Student

    torch.manual_seed(1)
    student = Student(tiny_locator_shape)
    with torch.no_grad():
        for head in student.heads:
            last = list(head.children())[-1]
            last.weight.normal_(std=3)
            last.weight[2:6] *= 0.03
            last.bias[:2] = torch.tensor([1.0, -4.0])
        noise = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
        for _ in range(30):
            student(torch.nn.functional.interpolate(noise, scale_factor=8.0, mode="bilinear"))
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    report = export_locator(student, path)
    assert report["max_difference"] <= 1e-3
    assert report["max_box_difference_px"] <= 0.5
    assert report["boxes"] > 0
    return path
