import csv
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
                "sha256": f"{number:064x}",
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
