import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fauxface.errors import CheckpointError, DataError, OutputError  # noqa: E402
from fauxface_train.dataset import PreparedData, load_crop, load_stored  # noqa: E402
from fauxface_train.reconstruct.net import CODE, FACTOR, KINDS, Autoencoder  # noqa: E402
from fauxface_train.reconstruct.run import Plan, reconstruct  # noqa: E402
from fauxface_train.reconstruct.training import PATCH, distance, fit, rebuilt  # noqa: E402

PLAN = Plan(count=3, steps=1, seed=0)


@pytest.fixture
def data(write_prepared):
    known = {"age": 30, "gender": "female", "race": "indian", "locator_score": 0.9}
    rows = [("train", "real", "camera", redness, known) for redness in range(0, 50, 10)]
    rows += [
        ("train", "real", "phone", 60, {}),
        ("train", "fake", "gan", 100, {}),
        ("val", "real", "camera", 1, {}),
    ]
    return PreparedData.load(write_prepared(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_an_autoencoder_gives_back_the_size_it_got(kind):
    picture = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    made = rebuilt(Autoencoder(kind).eval(), picture)
    assert (made.shape, made.dtype) == (picture.shape, np.uint8)


def test_the_encoder_keeps_what_the_blocks_have_in_common():
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    net = Autoencoder("nearest")
    net.set_encoder([ramp, -ramp])
    code = net.encoder(net.blocks(ramp))
    assert code.shape == (1, CODE, 64 // FACTOR, 64 // FACTOR)
    position = torch.arange(16.0).expand(16, 16).flatten()
    assert abs(np.corrcoef(code[0, 0].flatten().numpy(), position.numpy())[0, 1]) > 0.999
    assert not net.encoder.weight.requires_grad


def test_fitting_lowers_the_distance_and_repeats():
    rng = np.random.default_rng(0)
    smooth = [np.full((PATCH + i, PATCH + i, 3), rng.integers(60, 200, 3), np.uint8) for i in range(-8, 8)]
    runs = []
    for _ in range(2):
        said = []
        net = fit("bilinear", smooth, 8, 3, said.append)
        runs.append((said, rebuilt(net, smooth[0])))
    values = [float(text.removeprefix("distance ")) for text in runs[0][0]]
    assert values[-1] < 0.95 * values[0]
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_blur_is_farther_than_texture_of_the_same_energy():
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    other = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.1
    same = distance(noise, noise)
    assert same == 0
    steps = [torch.nn.functional.l1_loss(made, noise) for made in (torch.zeros_like(noise), other)]
    assert steps[0] < steps[1], "pixel by pixel the blur is nearer"
    energy = [
        distance(made, noise) / step
        for made, step in zip((torch.zeros_like(noise), other), steps, strict=True)
    ]
    assert energy[0] > energy[1]


@pytest.mark.parametrize("blur", [0.5, 1.0])
def test_light_and_sharpness_stay(blur):
    import cv2

    noise = np.random.default_rng(0).uniform(0, 255, (90, 70, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), blur).clip(0, 255).astype(np.uint8)

    class Soft(torch.nn.Module):
        def forward(self, x):
            return 0.6 * x + 0.3 * torch.nn.functional.avg_pool2d(x, 3, 1, 1) + 0.1

    made = rebuilt(Soft(), picture)
    variances = [
        cv2.Laplacian(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() for x in (picture, made)
    ]
    assert variances[1] == pytest.approx(variances[0], rel=0.3)
    assert abs(picture.mean() - made.mean()) < 1


def test_reconstructions_are_prepared_data_of_one_label(data, tmp_path):
    manifest = reconstruct(data, tmp_path / "out", PLAN)
    assert manifest == tmp_path / "out" / "manifest.csv"
    made = PreparedData.load(tmp_path / "out")
    assert made.sources() == sorted(f"recon_{kind}" for kind in KINDS)
    assert {(s.split, s.label, s.format) for s in made.samples()} == {("train", 1, "JPEG")}
    assert (made.info["crop"], made.room) == (data.info["crop"], data.room)
    assert 0 < len(made) <= 3 * len(KINDS)
    for sample in made.samples():
        assert load_stored(sample).shape == (40, 40, 3)
        assert load_crop(sample).shape == (128, 128, 3)
        assert sample.path.stem == sample.sha256[:16]
        assert (sample.gender, sample.locator_score) in {("female", 0.9), (None, None)}
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["reconstructed"]["count"] == 3


def test_large_faces_are_made_at_drawn_sizes(write_prepared, tmp_path):
    import cv2

    root = write_prepared(
        [("train", "real", "camera", 0, {"square_x": 20, "square_y": 20, "square_side": 160})]
    )
    stored = next((root / "crops").rglob("*.png"))
    cv2.imwrite(str(stored), np.full((200, 200, 3), 90, np.uint8))
    reconstruct(PreparedData.load(root), tmp_path / "out", Plan(count=8, steps=1))
    samples = PreparedData.load(tmp_path / "out").samples()
    sides = {s.square.side for s in samples}
    assert 160 in sides
    assert len(sides) > 3
    assert min(sides) >= 110
    for sample in samples:
        scale = sample.square.side / 160
        assert load_stored(sample).shape[0] == pytest.approx(200 * scale, abs=1)
        assert sample.width == pytest.approx(100 * scale, abs=1)
        assert sample.face_px == pytest.approx(60 * scale, abs=1)


def test_a_broken_off_run_goes_on_and_a_finished_one_stays(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    reconstruct(data, tmp_path / "whole", PLAN)
    trained = []
    original = reconstruct.__globals__["training"].fit

    def breaks(kind, *arguments):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(kind)
        return original(kind, *arguments)

    monkeypatch.setattr(reconstruct.__globals__["training"], "fit", breaks)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(data, out, PLAN)
    with pytest.raises(DataError, match="no finished prepared data"):
        PreparedData.load(out)
    monkeypatch.setattr(
        reconstruct.__globals__["training"],
        "fit",
        lambda kind, *a: trained.append(kind) or original(kind, *a),
    )
    reconstruct(data, out, PLAN)
    assert trained == list(KINDS)
    assert (out / "manifest.csv").read_bytes() == (tmp_path / "whole" / "manifest.csv").read_bytes()
    reconstruct(data, out, PLAN)
    assert trained == list(KINDS)


def test_bad_input_is_one_line(data, write_prepared, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        reconstruct(data, tmp_path / "taken", PLAN)
    reconstruct(data, tmp_path / "out", PLAN)
    with pytest.raises(OutputError, match="other settings or data"):
        reconstruct(data, tmp_path / "out", Plan(count=4, steps=1))
    only_fake = PreparedData.load(write_prepared([("train", "fake", "gan", 1, {})], name="fakes"))
    with pytest.raises(DataError, match="no bona fide pictures"):
        reconstruct(only_fake, tmp_path / "other", PLAN)
    (tmp_path / "out" / "prepare.json").unlink()
    (tmp_path / "out" / "nearest.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="remove it"):
        reconstruct(data, tmp_path / "out", PLAN)
