"""What the scripts compute around the measuring: comparisons, claims, inputs."""

import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

import networks
import pipeline
import verdict

import classifier
import dense_models
import face_to_verdict
import harness
import peers
import plots
import roofline
import training
import video
import weights
from fauxface.bundle import Bundle
from fauxface.crops import extract, face_square
from fauxface.errors import BundleError, DataError, FauxfaceError, GateError
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train.dataset import PreparedData, load_crop
from harness import Row
from protocol import Worker

TINY = Path(__file__).parent.parent / "data" / "tiny_bundle"
RULE = {
    "temperature": 1.0,
    "bias": 0.0,
    "bona_fide_below": 0.3,
    "generated_from": 0.7,
    "min_face_px": 40,
    "margin": 1.2,
}


def row(name, case, seconds):
    return Row(name, case, rounds=[seconds] * 3, runs=[seconds] * 3, units=[1.0] * 3)


# the same weights for every peer


@pytest.fixture(scope="module")
def shipped():
    return Bundle.load()


def test_the_unfolded_network_answers_like_the_shipped_classifier(shipped):
    import torch

    from fauxface.session import Classifier
    from fauxface_train.model import Deployed

    crops = shipped.golden()[0][:2]
    with torch.inference_mode():
        found = Deployed(weights.network(shipped.classifier_bytes())).eval()(torch.from_numpy(crops)).numpy()
    expected = Classifier(shipped.classifier_bytes(), provider="cpu").logits(crops)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_another_classifier_is_refused_in_one_line():
    with pytest.raises(BundleError, match="the peers can't be given these weights") as raised:
        weights.network(Bundle.load(TINY).classifier_bytes())
    assert "\n" not in str(raised.value)


def test_operations_are_those_of_resnet18(shipped):
    # torchvision gives 1.814e9 multiply-adds at 224 px; all but the last layer scale with the pixels.
    expected = (1.814e9 - 512_000) * (128 / 224) ** 2 + 512 * 2
    assert weights.multiply_adds(shipped.classifier_bytes()) == pytest.approx(expected, rel=0.002)
    kernels, moved = weights.layer_values(shipped.classifier_bytes())
    assert kernels == 11_166_912
    assert moved > 3 * 128**2 + 64 * 64**2


def test_precisions_are_those_of_the_bundle():
    bundle = Bundle.load(TINY)
    assert [peer.name for peer in peers.own(bundle)] == ["fauxface fp32"]
    assert weights.scanner_options(bundle, "fp32") == {}


# peers


def test_every_peer_has_its_environment_and_its_opener():
    from classify import OPENERS as CLASSIFY

    from environments import ENVIRONMENTS
    from train import OPENERS as TRAIN

    for peer in (*peers.NETWORKS, *peers.PIPELINES, *training.CONFIGURATIONS):
        assert peer.environment in {"", *ENVIRONMENTS}
    assert {p.configuration for p in peers.NETWORKS} <= set(CLASSIFY) & set(verdict.OPENERS)
    assert {p.configuration for p in peers.PIPELINES} <= set(pipeline.OPENERS)
    assert {p.configuration for p in training.CONFIGURATIONS} <= set(TRAIN)


def test_the_dense_product_counts_pictures_by_their_operations(monkeypatch):
    import train

    monkeypatch.setattr(train, "_SIZES", (32, 48))
    product = train.OPENERS["dense product"]({"operations": 2e3})
    product.prepare("sustained", {})
    answer = product.answer(product.run("sustained"))
    assert product.units(product.run("sustained")) == 2 * answer["size"] ** 3 / 2e3
    assert training.check("dense product", answer) == {
        "precision": answer["precision"],
        "size": answer["size"],
    }


@pytest.mark.parametrize(
    ("skip", "message"),
    [
        (["nothing"], "no configuration 'nothing'; there are "),
        ([p.name for p in peers.NETWORKS], "leaves no"),
    ],
)
def test_what_is_skipped_must_exist_and_leave_something(skip, message):
    options = [word for name in skip for word in ("--skip", name)]
    arguments = harness.parser("x", "classifier", 1, 0.1).parse_args(options)
    with ExitStack() as stack, pytest.raises(FauxfaceError, match=message):
        peers.open_workers(stack, peers.NETWORKS, "classify.py", {}, arguments)


@pytest.mark.parametrize("z", [-1000.0, -3.0, -0.8, 0.0, 0.9, 2.5, 1000.0])
def test_the_peers_verdict_is_the_runtimes(z):
    logits = np.array([[0.25, 0.25 + z]], np.float32)
    p = Calibration(1.0, 0.0).probability(logits)[0]
    found = networks.verdict(logits[0], RULE)
    assert found["p"] == pytest.approx(p, abs=1e-9)
    assert found["label"] == Thresholds(0.3, 0.7).label(p)


def test_a_peers_cut_is_the_runtimes_square_inside_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    box = (40.0, 30.0, 30.0, 20.0)
    np.testing.assert_array_equal(networks.cut(image, box, 1.2), extract(image, face_square(box, 1.2)))
    assert networks.cut(image, (-10.0, -10.0, 40.0, 40.0), 1.0).shape == (30, 30, 3)
    assert networks.cut(image, (200.0, 10.0, 20.0, 20.0), 1.0).size == 0


def test_numpy_normalisation_is_torchvisions():
    from PIL import Image
    from torchvision import transforms

    crop = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    made = transforms.Compose([transforms.ToTensor(), transforms.Normalize(networks.MEAN, networks.STD)])
    np.testing.assert_allclose(networks.normalised(crop), made(Image.fromarray(crop)).numpy(), atol=1e-5)


# own workers


def test_the_classify_worker_gives_the_runtimes_logits(tmp_path):
    bundle = Bundle.load(TINY)
    crops, expected = bundle.golden()
    np.save(tmp_path / "crops.npy", crops)
    options = {"bundle": str(TINY), "precision": "fp32", "crops": str(tmp_path / "crops.npy")}
    with Worker("own", sys.executable, "classify.py", "fauxface", options, own_code=True) as worker:
        worker.ask("prepare", case="more", spec={"batch": len(crops) + 1})
        found = np.array(worker.ask("answer", case="more"))
    np.testing.assert_allclose(found, np.concatenate([expected, expected[:1]]), atol=1e-4)


def test_verdict_and_pipeline_judge_the_same_face(tmp_path):
    from fauxface.video import FrameWriter

    image = np.zeros((240, 320, 3), np.uint8)
    image[60:180, 100:220] = (200, 60, 60)
    with FrameWriter(tmp_path / "clip.mp4", 25, (320, 240)) as writer:
        for _ in range(5):
            writer.write(image)
    shared = {"bundle": str(TINY), "scanner": {}}
    clip = pipeline.fauxface(shared)
    clip.prepare("clip", {"video": str(tmp_path / "clip.mp4"), "frames": 3})
    frames = clip.run("clip")
    assert clip.units(frames) == 3
    assert [[face["label"] for face in faces] for faces in frames] == [["generated"]] * 3

    np.savez(tmp_path / "faces.npz", image0=image, boxes=np.array([[100.0, 60.0, 120.0, 120.0]]))
    single = verdict.fauxface({**shared, "faces": str(tmp_path / "faces.npz")})
    single.prepare("batch 1", {})
    assert single.answer(single.run("batch 1"))[0]["label"] == "generated"
    assert single.units(None) == 1


# claims


def test_claims_name_the_fastest_precision_that_was_measured():
    rows = [row("yunet + article", "c", 0.6), row("fauxface fp32", "c", 0.3), row("fauxface int8", "c", 0.1)]
    agreement = {"c": {"fauxface int8": {"yunet + article": {"agreement": 0.97, "located": 0.9}}}}
    found = video.claims(rows, ["c"], agreement)
    assert [(c["value"], c["holds"]) for c in found] == [(6.0, True), (0.97, False), (0.9, True)]
    assert "fauxface int8" in found[0]["claim"]
    one = [row("article", "batch 1", 0.5), row("fauxface fp32", "batch 1", 0.1)]
    assert [(c["value"], c["aim"]) for c in face_to_verdict.claims(one)] == [(5.0, 5.0)]
    both = [row(f"fauxface {p}", f"batch {b}", t) for p, t in (("fp32", 0.3), ("int8", 0.1)) for b in (1, 8)]
    assert [(c["value"], c["aim"]) for c in classifier.claims(both)] == [(3.0, 3.0), (3.0, 2.5)]
    assert classifier.claims(both[:2]) == []
    loops = [row(training.LOOP, "sustained", 0.04), row("fauxface robust", "sustained", 0.01)]
    assert [(c["value"], c["holds"]) for c in training.claims(loops)] == [(4.0, False)]


def test_the_roofline_compares_with_the_fastest_product(tmp_path):
    products = dense_models.write_all(tmp_path, sizes=(64,))
    rows = [row("dense", product.name, 1e-12) for product in products]
    fastest = next(r for r in rows if r.case == "QLinearMatMul 64")
    fastest.rounds = [5e-13] * 3
    rows += [
        row("memory", "copy", 1e-10),
        row("classifier int8", "batch 8", 1e-12),
        row("classifier fp32", "batch 1", 2e-12),
    ]
    roofs = roofline.roofs(rows, products)
    assert roofs["product"]["int8"] == "QLinearMatMul 64"
    assert roofs["ops_per_s"] == {"int8": 2e12, "fp32": 1e12}
    found = roofline.points(rows, roofs, (1000, 500), 1e6)
    assert [(p["precision"], p["share"], p["ops_per_byte"]) for p in found] == [
        ("int8", 0.5, 1600.0),
        ("fp32", 0.5, 166.67),
    ]
    assert [(c["value"], c["holds"]) for c in roofline.claims(found)] == [(0.5, False)]
    assert roofline.claims(found[1:]) == []


def test_dense_products_compute_what_they_say(tmp_path):
    from dense import Copies, Models

    models, count = Models(), {}
    for product in dense_models.write_all(tmp_path, sizes=(64,)):
        spec = {"model": str(product.model), "inputs": str(product.inputs), "operations": product.operations}
        models.prepare(product.name, spec)
        assert models.units(models.run(product.name)) == product.operations
        count[product.name] = product.operations
    assert count.pop("Conv 3x3 128") == count.pop("QLinearConv 3x3 128") == 2 * 9 * 128**2 * 16**2 * 8
    assert set(count.values()) == {2 * 64**3}
    copies = Copies()
    copies.prepare("copy", {"bytes": 4096})
    assert 0 < copies.run("copy") <= 2 * 4096


# training data


def test_golden_crops_become_prepared_data_and_a_plain_folder(tmp_path):
    crops = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    data = training.golden_data(crops, tmp_path / "prepared", 8)
    samples = PreparedData.load(data).samples(split="train")
    assert [s.label for s in samples] == [0, 1] * 4
    np.testing.assert_array_equal(load_crop(samples[4]), crops[1])
    some = training.subset(data, tmp_path / "some", 4)
    chosen = PreparedData.load(some).samples(split="train")
    assert sorted(s.label for s in chosen) == [0, 0, 1, 1]
    assert all(s.path.is_file() for s in chosen)
    folder = training.plain_folder(some, tmp_path / "folder")
    assert len(list((folder / "real").glob("*.jpg"))) == len(list((folder / "fake").glob("*.jpg"))) == 2


def test_training_data_without_a_label_are_refused(tmp_path):
    data = training.golden_data(np.zeros((1, 128, 128, 3), np.uint8), tmp_path / "prepared", 1)
    with pytest.raises(DataError, match="has no fake pictures"):
        training.subset(data, tmp_path / "some", 4)


@pytest.mark.parametrize("answer", [float("nan"), {"loss": float("inf")}])
def test_a_training_that_diverged_is_refused(answer):
    with pytest.raises(GateError, match="its rate would mean nothing"):
        training.check("loop", answer)


# plots


def test_plots_are_drawn_for_any_result(tmp_path):
    document = {
        "benchmark": "classifier",
        "trial": True,
        "machine": {"cores": 2, "cpu": "Some CPU"},
        "rows": [
            row(name, case, 0.1).to_dict() for case in ("a", "b") for name in ("article", "fauxface fp32")
        ],
        "roofs": {"ops_per_s": {"int8": 4e11, "fp32": 1e11}, "bytes_per_s": 1e10},
        "points": [
            {"precision": "int8", "case": "batch 1", "ops_per_s": 2e11, "ops_per_byte": 50.0, "share": 0.5}
        ],
    }
    plots.bars(document, tmp_path / "bars.png", "ms")
    plots.roofline(document, tmp_path / "roofline.png")
    for name in ("bars.png", "roofline.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
