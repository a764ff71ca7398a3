import hashlib
import io
import json
import os
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fauxface.bundle import LABELS, Bundle, write_manifest
from fauxface.errors import BundleError

DATA = Path(__file__).parents[1] / "data"
TINY = DATA / "tiny_bundle"
ATTACKS = DATA / "attacks"


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(TINY, folder)
    return folder


def manifest_of(folder):
    return json.loads((folder / "bundle.json").read_text())


def put_manifest(folder, document):
    (folder / "bundle.json").write_text(json.dumps(document))


def put_file(folder, name, data):
    """Replace a file and make the manifest agree, as someone who tampers knowingly would."""
    (folder / name).write_bytes(data)
    document = manifest_of(folder)
    document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    put_manifest(folder, document)


def refused(folder, *parts):
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def test_load():
    bundle = Bundle.load(TINY)
    manifest = bundle.manifest
    assert bundle.sha256 == hashlib.sha256((TINY / "bundle.json").read_bytes()).hexdigest()
    assert manifest.labels == LABELS == ("bona_fide", "generated")
    assert (manifest.name, manifest.version, manifest.created) == ("tiny", "1.0", "2026-01-31T12:00:00Z")
    assert (manifest.crop.margin, manifest.crop.min_face_px, manifest.input.size) == (1.2, 40, 128)
    assert (manifest.locator.score_threshold, manifest.locator.max_side) == (0.6, 640)
    assert (manifest.thresholds.bona_fide_below, manifest.thresholds.generated_from) == (0.3, 0.7)
    assert bundle.classifier_bytes() == (TINY / "classifier.onnx").read_bytes()
    assert bundle.locator_bytes() == (TINY / "locator.onnx").read_bytes()
    assert bundle.locator_bytes("int8") == bundle.locator_bytes()
    assert bundle.card().startswith("# tiny")
    crops, logits = bundle.golden()
    assert crops.shape == (8, 128, 128, 3)
    assert logits.shape == (8, 2)


def test_a_locator_in_int8_is_verified_and_handed_out(with_int8_locator):
    bundle = Bundle.load(with_int8_locator)
    assert bundle.manifest.version == "1.4"
    assert bundle.manifest.locator.int8 == "locator.int8.onnx"
    assert bundle.locator_bytes("int8") == (with_int8_locator / "locator.int8.onnx").read_bytes()
    assert bundle.locator_bytes("int8") != bundle.locator_bytes("fp32") == bundle.locator_bytes()
    (with_int8_locator / "locator.int8.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"locator\.int8\.onnx"):
        Bundle.load(with_int8_locator)


@pytest.mark.parametrize("path", [str(TINY), TINY / "bundle.json"])
def test_load_accepts_text_and_the_manifest_itself(path):
    assert Bundle.load(path).path == TINY


def test_unknown_names():
    bundle = Bundle.load(TINY)
    with pytest.raises(BundleError, match="no int8 classifier; it has fp32"):
        bundle.classifier_bytes("int8")
    with pytest.raises(BundleError, match=r"no file 'bundle\.json'"):
        bundle.read("bundle.json")


def test_files_are_read_once_and_never_again(copy, monkeypatch):
    opened = []
    real_open = os.open

    def recording_open(path, *rest, **options):
        if str(path).startswith(str(copy)):
            opened.append(Path(path).name)
        return real_open(path, *rest, **options)

    monkeypatch.setattr(os, "open", recording_open)
    bundle = Bundle.load(copy)
    assert sorted(opened) == sorted(["bundle.json", *bundle.manifest.files])
    expected = {name: (TINY / name).read_bytes() for name in bundle.manifest.files}
    shutil.rmtree(copy)
    assert {name: bundle.read(name) for name in expected} == expected
    assert len(bundle.golden()[0]) == 8


@pytest.mark.parametrize("name", ["classifier.onnx", "locator.onnx", "golden.npz", "MODEL_CARD.md"])
class TestTampered:
    def test_one_changed_byte(self, copy, name):
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        refused(copy, name, "was changed")

    def test_another_length(self, copy, name):
        with (copy / name).open("ab") as file:
            file.write(b"\0")
        refused(copy, name, "bytes, not")

    def test_missing(self, copy, name):
        (copy / name).unlink()
        refused(copy, name, "doesn't exist")

    def test_a_folder_in_its_place(self, copy, name):
        (copy / name).unlink()
        (copy / name).mkdir()
        refused(copy, name)

    @pytest.mark.skipif(sys.platform == "win32", reason="named pipes and links are made differently there")
    def test_a_pipe_in_its_place(self, copy, name):
        (copy / name).unlink()
        os.mkfifo(copy / name)
        refused(copy, name, "isn't a regular file")

    @pytest.mark.skipif(sys.platform == "win32", reason="named pipes and links are made differently there")
    def test_a_link_that_leads_outside(self, copy, name):
        (copy / name).rename(copy.parent / "outside")
        (copy / name).symlink_to("../outside")
        refused(copy, name, "leads outside")

    @pytest.mark.skipif(sys.platform == "win32", reason="named pipes and links are made differently there")
    def test_a_link_that_stays_inside(self, copy, name):
        (copy / name).rename(copy / "blob")
        (copy / name).symlink_to("blob")
        assert Bundle.load(copy).read(name) == (TINY / name).read_bytes()

    @pytest.mark.skipif(sys.platform == "win32", reason="named pipes and links are made differently there")
    def test_a_link_in_a_circle(self, copy, name):
        (copy / name).unlink()
        (copy / name).symlink_to(name)
        refused(copy, name)


@pytest.mark.skipif(sys.platform == "win32", reason="links are made differently there")
def test_a_linked_manifest_that_leads_outside(copy):
    (copy / "bundle.json").rename(copy.parent / "outside.json")
    (copy / "bundle.json").symlink_to("../outside.json")
    refused(copy, "bundle.json", "leads outside")


def test_unlisted_files_are_ignored(copy):
    (copy / ".DS_Store").write_bytes(b"whatever")
    (copy / "old").mkdir()
    (copy / "old" / "classifier.onnx").write_bytes(b"whatever")
    assert Bundle.load(copy).sha256 == Bundle.load(TINY).sha256


def test_no_bundle(tmp_path):
    refused(tmp_path / "nowhere", "nowhere", "doesn't exist")
    refused(tmp_path, "bundle.json", "doesn't exist")
    (tmp_path / "picture.png").write_bytes(b"")
    refused(tmp_path / "picture.png", "isn't a folder")


@pytest.mark.parametrize("target", ["classifier.onnx", "locator.onnx"])
@pytest.mark.parametrize(
    ("attack", "part"),
    [
        ("external_data", "external data"),
        ("memory_address", "external data"),
        ("nested_external_data", "external data"),
        ("ep_context", "EPContext"),
    ],
)
def test_models_that_reach_outside(copy, target, attack, part):
    shutil.copy(ATTACKS / "weights.bin", copy / "weights.bin")
    put_file(copy, "weights.bin", (ATTACKS / "weights.bin").read_bytes())
    put_file(copy, target, (ATTACKS / f"{attack}.onnx").read_bytes())
    refused(copy, target, part)


@pytest.mark.parametrize(
    "data",
    [b"", b"not a model", b"\x08\x08", b"\x3a\xff\xff\xff\xff\x0f", b"\0\0\0\0ORTM", b"\x3a\x02\x0b\x0c"],
    ids=["empty", "text", "no graph", "cut short", "ORT format", "group"],
)
def test_files_that_are_not_models(copy, data):
    put_file(copy, "classifier.onnx", data)
    refused(copy, "classifier.onnx")


@pytest.mark.parametrize("attack", ["external_data", "nested_external_data", "ep_context"])
def test_an_int8_locator_that_reaches_outside(with_int8_locator, attack):
    put_file(with_int8_locator, "locator.int8.onnx", (ATTACKS / f"{attack}.onnx").read_bytes())
    refused(with_int8_locator, "locator.int8.onnx")


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def archive(name, body, *, encrypted=False, method=0):
    """A zip archive of one stored member whose header says that it is encrypted or otherwise compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, body)
    data = bytearray(buffer.getvalue())
    for flags in (6, data.index(b"PK\x01\x02") + 8):
        struct.pack_into("<HH", data, flags, int(encrypted), method)
    return bytes(data)


CROPS, LOGITS = np.zeros((2, 128, 128, 3), np.uint8), np.zeros((2, 2), np.float32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive",
        npz(crops=CROPS, logits=LOGITS)[:-30],
        npz(crops=CROPS),
        npz(logits=LOGITS),
        npz(crops=CROPS.astype(np.float32), logits=LOGITS),
        npz(crops=CROPS[:, :64], logits=LOGITS),
        npz(crops=CROPS[0], logits=LOGITS),
        npz(crops=np.uint8(0), logits=LOGITS),
        npz(crops=CROPS[:0], logits=LOGITS[:0]),
        npz(crops=CROPS, logits=LOGITS[:1]),
        npz(crops=CROPS, logits=LOGITS.astype(np.float64)),
        npz(crops=CROPS, logits=LOGITS * np.float32("nan")),
        npz(crops=np.array([{"pickled": 1}], dtype=object), logits=LOGITS),
        npz(crops=CROPS, logits=LOGITS, bomb=np.zeros((1 << 26) + 1, np.uint8)),
        archive("crops", b"no array"),
        archive("crops.npy", b"", encrypted=True),
        archive("crops.npy", b"", method=99),
    ],
    ids=range(18),
)
def test_golden_files_that_are_refused(copy, data):
    put_file(copy, "golden.npz", data)
    bundle = Bundle.load(copy)
    with pytest.raises(BundleError, match=r"^golden\.npz"):
        bundle.golden()


def test_a_card_that_is_not_text(copy):
    put_file(copy, "MODEL_CARD.md", b"\xff\xff")
    with pytest.raises(BundleError, match="isn't UTF-8"):
        Bundle.load(copy).card()


class TestWriteManifest:
    def prepare(self, folder):
        document = manifest_of(folder)
        (folder / "bundle.json").unlink()
        for key in ("format", "version", "files"):
            del document[key]
        return document

    def test_the_result_loads(self, copy):
        document = self.prepare(copy)
        (copy / "extra").mkdir()
        (copy / "extra" / "model.pt2").write_bytes(b"123")
        manifest = write_manifest(copy, document)
        bundle = Bundle.load(copy)
        assert bundle.manifest == manifest
        assert bundle.read("extra/model.pt2") == b"123"

    def test_created_is_filled_in(self, copy):
        document = self.prepare(copy)
        del document["created"]
        assert write_manifest(copy, document).created.endswith("Z")

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"name": ""}, "name"),
            ({"metrics": {"auroc": float("nan")}}, "JSON"),
            ({"metrics": {"auroc": np.float32(1)}}, "JSON"),
            ({"crop": {}}, "crop.margin"),
        ],
    )
    def test_a_refused_document_leaves_nothing(self, copy, change, part):
        document = self.prepare(copy) | change
        before = sorted(copy.iterdir())
        with pytest.raises(BundleError, match=part):
            write_manifest(copy, document)
        assert sorted(copy.iterdir()) == before

    @pytest.mark.parametrize("name", [".hidden", "a b.txt", "one/two/three.txt"])
    def test_files_that_may_not_be_part(self, copy, name):
        document = self.prepare(copy)
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"x")
        with pytest.raises(BundleError, match="can't be part of a bundle"):
            write_manifest(copy, document)


class TestVariants:
    def test_each_has_its_classifier_and_its_golden_logits(self, variant_bundle):
        bundle = Bundle.load(variant_bundle)
        assert bundle.manifest.version == "1.1"
        crops, logits = bundle.golden()
        for precision, shift in (("int8", 1), ("fp16", 2)):
            expected = (DATA / "variants" / f"classifier.{precision}.onnx").read_bytes()
            assert bundle.classifier_bytes(precision) == expected
            same_crops, own = bundle.golden(precision)
            np.testing.assert_array_equal(same_crops, crops)
            np.testing.assert_allclose(own - logits, np.tile([shift, -shift], (8, 1)), atol=1e-6)

    def test_one_that_is_missing_is_one_line(self, variant_bundle):
        with pytest.raises(
            BundleError, match="no int4 classifier; it has fp32, int8, fp16; choose"
        ) as caught:
            Bundle.load(variant_bundle).classifier_bytes("int4")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "arrays",
        [
            {},
            {"logits_int8": LOGITS[:1]},
            {"logits_int8": LOGITS.astype(np.float64)},
            {"logits_int8": LOGITS + np.float32("inf")},
            {"logits_int8": np.array([{"pickled": 1}], dtype=object)},
        ],
        ids=["missing", "other length", "other type", "not finite", "pickled"],
    )
    def test_golden_logits_that_are_refused(self, variant_bundle, arrays):
        put_file(variant_bundle, "golden.npz", npz(crops=CROPS, logits=LOGITS, **arrays))
        bundle = Bundle.load(variant_bundle)
        assert len(bundle.golden()[0]) == len(CROPS)
        with pytest.raises(BundleError, match=r"^golden\.npz.*(logits_int8|pickle)"):
            bundle.golden("int8")

    @pytest.mark.parametrize(
        "attack", ["external_data", "memory_address", "nested_external_data", "ep_context"]
    )
    def test_models_that_reach_outside(self, variant_bundle, attack):
        put_file(variant_bundle, "classifier.int8.onnx", (ATTACKS / f"{attack}.onnx").read_bytes())
        refused(variant_bundle, "classifier.int8.onnx")

    def test_one_changed_byte(self, variant_bundle):
        data = bytearray((variant_bundle / "classifier.int8.onnx").read_bytes())
        data[len(data) // 2] ^= 1
        (variant_bundle / "classifier.int8.onnx").write_bytes(data)
        refused(variant_bundle, "classifier.int8.onnx", "was changed")

    def test_missing_file(self, variant_bundle):
        (variant_bundle / "classifier.fp16.onnx").unlink()
        refused(variant_bundle, "classifier.fp16.onnx", "doesn't exist")


def test_a_manifest_that_no_release_would_read_is_not_written(variant_bundle):
    document = Bundle.load(variant_bundle).document()
    before = (variant_bundle / "bundle.json").read_bytes()
    document["provenance"] = {"pictures": ["0" * 16] * 60_000}
    with pytest.raises(BundleError, match=r"would have \d+ bytes, and 1048576 are the most"):
        write_manifest(variant_bundle, document)
    assert (variant_bundle / "bundle.json").read_bytes() == before
