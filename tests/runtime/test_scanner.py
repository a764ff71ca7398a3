import contextlib
import gc
import io
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from coloured_squares import GRAY, PINK, RED, Blobs, scene
from fauxface import Scanner, cutting, images
from fauxface import scanner as scanner_module
from fauxface.bundle import Bundle, write_manifest
from fauxface.errors import BundleError, ImageError, ProviderError
from fauxface.locator import Location, Locator
from memory_errors import SHORT

TINY_BUNDLE = Path(__file__).parents[1] / "data/tiny_bundle"
LABELS = {GRAY: "bona_fide", PINK: "unsure", RED: "generated"}


def test_image_judges_each_face_on_full_resolution(scanner, bundle):
    image = np.zeros((300, 600, 3), np.uint8)
    image[20:120, 20:120] = RED
    image[20:280, 300:560] = GRAY
    result = scanner.image(image)
    assert [(face.label, face.face_px) for face in result.faces] == [("bona_fide", 260), ("generated", 100)]
    assert result.faces[1].box == (20, 20, 100, 100)
    assert result.faces[1].locator_score == 0.9
    assert len(result.faces[1].landmarks) == 5
    assert (result.source, result.frame, result.time_s, result.error) == ("<array>", None, None, None)
    assert result.model == bundle.sha256
    assert scanner._classifier.batches == [2]


def test_image_from_path(scanner, tmp_path):
    images.write(tmp_path / "a.png", scene(RED))
    result = scanner.image(tmp_path / "a.png")
    assert result.source == str(tmp_path / "a.png")
    assert [face.label for face in result.faces] == ["generated"]


def test_small_face_is_unsure_with_its_reason(scanner):
    (face,) = scanner.image(scene(RED, side=30)).faces
    assert face.label == "unsure"
    assert face.reason == "face is 30 px, smaller than 40 px"
    assert face.p_generated > 0.5


@pytest.mark.parametrize(
    ("gates", "reason"),
    [
        ({"min_sharpness": 12}, "face is blurred: sharpness 0, below 12"),
        ({"max_roll": 20}, "face is tilted: roll 46 degrees, above 20"),
        ({"max_yaw": 20}, None),
    ],
)
def test_gates_of_the_bundle_make_a_face_unsure(gates, reason, tmp_path):
    shutil.copytree(TINY_BUNDLE, tmp_path / "gated")
    document = json.loads((TINY_BUNDLE / "bundle.json").read_text())
    (tmp_path / "gated" / "bundle.json").unlink()
    write_manifest(tmp_path / "gated", document | {"gates": gates})

    class Tilted:
        def locate(self, image):
            points = tuple(
                (40 + 30 * x, 40 + 31 * x + y) for x, y in [(-1, 0), (1, 0), (0, 9), (0, 20), (0, 20)]
            )
            return [Location((26, 26, 44, 44), points, 0.9)]

    scanner = Scanner(tmp_path / "gated", provider="cpu", threads=1, locator=Tilted())
    (face,) = scanner.image(scene(RED)).faces
    assert face.p_generated > 0.9
    assert (face.label, face.reason) == (("unsure", reason) if reason else ("generated", None))


def test_face_at_the_border_is_judged(scanner):
    image = np.zeros((200, 200, 3), np.uint8)
    image[:100, :100] = RED
    assert scanner.image(image).faces[0].p_generated > 0.9


def test_no_face_is_recorded(scanner):
    result = scanner.image(np.zeros((90, 90, 3), np.uint8))
    assert result.faces == ()
    assert result.error is not None
    assert result.error.type == "NoFaceError"
    assert scanner._classifier.batches == []


@pytest.mark.parametrize("color", LABELS)
def test_whole_judges_the_central_square(bundle, color):
    scanner = Scanner(bundle, provider="cpu", threads=1, faces="whole")
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = color
    (face,) = scanner.image(image).faces
    assert (face.box, face.landmarks, face.locator_score) == ((100, 0, 100, 100), (), None)
    assert face.label == LABELS[color]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((50, 50), np.uint8),
        np.zeros((50, 50, 4), np.uint8),
        np.zeros((50, 50, 3), np.float32),
        np.zeros((0, 50, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(scanner, array):
    with pytest.raises(ImageError, match="RGB uint8"):
        scanner.image(array)


def test_unreadable_picture_is_raised_by_image_and_recorded_by_images(scanner, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        scanner.image(tmp_path / "bad.jpg")
    results = list(scanner.images([scene(RED), tmp_path / "bad.jpg", scene(), scene(GRAY)]))
    assert [r.error.type if r.error else None for r in results] == [None, "ImageError", "NoFaceError", None]
    assert [len(r.faces) for r in results] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("faces_per_picture", "batch", "batches"),
    [
        ([1] * 7, 3, [3, 3, 1]),
        ([2, 2, 2], 3, [3, 1, 2]),
        ([5], 2, [2, 2, 1]),
        ([0, 1, 0, 0, 1], 2, [1, 1]),
        ([0, 0], 4, []),
    ],
)
def test_faces_of_several_pictures_share_an_inference(scanner, faces_per_picture, batch, batches):
    pictures = [scene(*[RED if i % 2 else GRAY] * n) for i, n in enumerate(faces_per_picture)]
    results = list(scanner.images(pictures, batch=batch))
    assert scanner._classifier.batches == batches
    assert [len(r.faces) for r in results] == faces_per_picture
    for i, result in enumerate(results):
        assert all((face.p_generated > 0.5) == bool(i % 2) for face in result.faces)


def test_batched_equals_single(scanner):
    pictures = [scene(*colors) for colors in ([RED, GRAY], [PINK], [GRAY, PINK, RED])]
    batched = list(scanner.images(pictures))
    for picture, result in zip(pictures, batched, strict=True):
        single = scanner.image(picture)
        assert [f.p_generated for f in single.faces] == pytest.approx([f.p_generated for f in result.faces])


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_a_crop_that_does_not_fit_the_memory_is_that_pictures_error(error, scanner, monkeypatch):
    whole = scanner_module.cut

    def cut(source, *arguments):
        if source == "huge":
            raise error
        return whole(source, *arguments)

    monkeypatch.setattr(scanner_module, "cut", cut)
    with pytest.raises(ImageError, match="huge: its faces don't fit the memory"):
        scanner.image(scene(RED), "huge")
    monkeypatch.setattr(scanner_module, "name_of", lambda _: "huge")
    (result,) = scanner.images([scene(RED)])
    assert result.error.type == "ImageError"


def test_images_are_taken_lazily(scanner):
    taken = []

    def pictures():
        for i in range(10):
            taken.append(i)
            yield scene(RED)

    stream = scanner.images(pictures(), batch=2)
    next(stream)
    assert taken == [0, 1]


def test_an_array_may_be_used_again_for_the_next_picture(bundle):
    def pictures():
        array = np.zeros((128, 128, 3), np.uint8)
        for color in (RED, GRAY):
            array[:] = color
            yield array

    scanner = Scanner(bundle, provider="cpu", threads=1, faces="whole")
    assert [r.faces[0].label for r in scanner.images(pictures())] == ["generated", "bona_fide"]


def test_large_pictures_are_not_held_back(scanner, monkeypatch):
    monkeypatch.setattr(cutting, "HELD_PIXELS", 3 * scene(RED).shape[0] * scene(RED).shape[1])
    assert len(list(scanner.scan_pictures([scene(RED)] * 7))) == 7
    assert scanner._classifier.batches == [3, 3, 1]
    assert all(image is None for _, image in scanner.scan_pictures([scene(RED)] * 7, keep=False))
    assert scanner._classifier.batches == [3, 3, 1, 7]


@pytest.mark.parametrize("batch", [0, -1])
def test_batch_below_one_is_refused(scanner, batch):
    with pytest.raises(ValueError, match="batch"):
        list(scanner.images([], batch=batch))


@pytest.mark.parametrize(
    "locator", ["absent.onnx", "folder", TINY_BUNDLE / "classifier.onnx", TINY_BUNDLE / "MODEL_CARD.md"]
)
def test_locator_file_that_is_none(bundle, tmp_path, monkeypatch, locator):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(BundleError, match="locator"):
        Scanner(bundle, locator=locator)


def test_other_locator_file_changes_the_model(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(Locator, "from_spec", lambda *args, **options: Blobs())
    (tmp_path / "same.onnx").write_bytes(bundle.locator_bytes())
    (tmp_path / "other.onnx").write_bytes(b"other")
    models = {name: Scanner(bundle, locator=tmp_path / name).model for name in ("same.onnx", "other.onnx")}
    assert models["same.onnx"] == bundle.sha256
    assert models["other.onnx"] != bundle.sha256
    assert len(models["other.onnx"]) == 64


@pytest.mark.parametrize(("precision", "wanted"), [("int8", "int8"), ("fp32", "fp32"), ("fp16", "fp32")])
def test_the_locator_runs_in_int8_beside_such_a_classifier(precision, wanted, with_int8_locator, monkeypatch):
    monkeypatch.setattr("fauxface.precision.int8_instructions", lambda bits=8: "avx512_vnni")
    opened = []
    monkeypatch.setattr(Locator, "from_spec", lambda data, *_, **options: opened.append(data) or Blobs())
    bundle = Bundle.load(with_int8_locator)
    scanner = Scanner(bundle, provider="cpu", precision=precision)
    assert opened == [bundle.locator_bytes(wanted)]
    assert scanner.model == bundle.sha256
    models = {
        file: Scanner(bundle, provider="cpu", precision=precision, locator=with_int8_locator / file).model
        for file in ("locator.onnx", "locator.int8.onnx")
    }
    own = bundle.manifest.locator.int8 if wanted == "int8" else "locator.onnx"
    assert [file for file, model in models.items() if model == bundle.sha256] == [own]


def test_a_larger_copy_shows_a_small_face(bundle):
    picture = np.zeros((1000, 2000, 3), np.uint8)
    picture[300, 1400] = 200
    usual, larger = (Scanner(bundle, provider="cpu", threads=1, max_side=side) for side in (None, 2000))
    assert [len(scanner.image(picture).faces) for scanner in (usual, larger)] == [0, 1]
    assert Scanner(bundle, max_side=bundle.manifest.locator.max_side).model == usual.model == bundle.sha256
    assert larger.model != usual.model


@pytest.mark.parametrize("side", [31, 8193, 0])
def test_max_side_out_of_range_is_refused(bundle, side):
    with pytest.raises(ValueError, match="max_side must lie in 32 to 8192"):
        Scanner(bundle, max_side=side)


def test_larger_copies_are_searched_by_fewer_threads_at_once(bundle, monkeypatch):
    ahead = []
    monkeypatch.setattr(scanner_module, "in_order", lambda *arguments: ahead.append(arguments[3]) or iter([]))
    monkeypatch.setattr(scanner_module, "closing", contextlib.nullcontext)
    for side in (None, 2000, 4000, 8192):
        list(Scanner(bundle, provider="cpu", threads=8, max_side=side).images([]))
    assert ahead == [8, 4, 1, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"faces": "whole", "locator": Blobs()},
        {"faces": "whole", "locator": "yunet.onnx"},
        {"faces": "whole", "max_side": 640},
        {"locator": Blobs(), "max_side": 640},
    ],
)
def test_options_that_would_change_nothing_are_refused(bundle, options):
    with pytest.raises(ValueError, match=r"leave locator and max_side out|give it to the object"):
        Scanner(bundle, **options)


@pytest.mark.parametrize("faces", ["locate", "whole"])
def test_an_array_may_be_in_opencv_s_order(bundle, faces):
    scanner = Scanner(bundle, provider="cpu", faces=faces, locator=Blobs() if faces == "locate" else None)
    picture = scene(RED, GRAY)
    found = scanner.image(picture[..., ::-1].copy(), bgr=True)
    assert found == scanner.image(picture)
    assert found.faces != scanner.image(picture[..., ::-1].copy()).faces


def test_a_file_is_read_as_it_is_whatever_the_order_of_arrays(scanner, tmp_path):
    images.write(tmp_path / "a.png", scene(RED))
    assert scanner.image(tmp_path / "a.png", bgr=True) == scanner.image(tmp_path / "a.png")


@pytest.mark.parametrize("picture", [b"\xff\xd8", io.BytesIO(), 0, None])
def test_what_is_neither_path_nor_array_says_what_to_do(scanner, picture):
    for given in ((picture,), (picture, "upload")):
        with pytest.raises(TypeError, match=r"a path or an array, not \w+; fauxface.images.decode"):
            scanner.image(*given)


def test_unknown_mode_is_refused(bundle):
    with pytest.raises(ValueError, match="whole"):
        Scanner(bundle, faces="all")  # pyright: ignore[reportArgumentType]


def test_precision_chooses_classifier_and_operating_point(variant_bundle):
    faces = {}
    for precision in ("fp32", "int8", "fp16"):
        made = Scanner(variant_bundle, provider="cpu", threads=1, locator=Blobs(), precision=precision)
        assert made.precision == precision
        faces[precision] = made.image(scene((170, 100, 100))).faces[0]
    assert [face.label for face in faces.values()] == ["generated", "unsure", "bona_fide"]
    assert "between the thresholds 0.200 and 0.800" in faces["int8"].reason
    z = np.log(faces["fp32"].p_generated / (1 - faces["fp32"].p_generated))
    # The stand-ins move the difference of the logits by -2 and -4; int8 has temperature 2 and bias 0.5.
    for precision, moved in (("int8", (z - 2) / 2 + 0.5), ("fp16", z - 4)):
        assert faces[precision].p_generated == pytest.approx(1 / (1 + np.exp(-moved)), abs=1e-5)


@pytest.mark.parametrize(
    ("precision", "error", "match"),
    [("int4", ProviderError, "unknown precision"), ("int8", BundleError, "no int8 classifier")],
)
def test_precisions_that_are_refused(precision, error, match, bundle):
    with pytest.raises(error, match=match):
        Scanner(bundle, provider="cpu", precision=precision)


@pytest.mark.parametrize("single", ["a.jpg", Path("a.jpg"), np.zeros((8, 8, 3), np.uint8)], ids=type)
def test_a_single_picture_is_no_series(scanner, single):
    with pytest.raises(TypeError, match="give a list"):
        list(scanner.images(single))


def test_a_dropped_scanner_is_freed_at_once(bundle):
    scanner = Scanner(bundle, provider="cpu", threads=1)
    classifier = weakref.ref(scanner._classifier)
    gc.collect()
    gc.disable()
    try:
        del scanner
        assert classifier() is None
    finally:
        gc.enable()


def test_files_read_ahead_give_what_one_after_the_other_gives(bundle, tmp_path):
    names = [tmp_path / f"{i:02}.png" for i in range(20)]
    for i, name in enumerate(names):
        images.write(name, scene(*[RED, GRAY, PINK][: i % 4]))
    names[7].write_bytes(b"no picture")
    results = {}
    for threads in (1, 3):
        made = Scanner(bundle, provider="cpu", threads=threads, locator=Blobs())
        results[threads] = list(made.images(names))
    assert results[1] == results[3]
    assert [result.source for result in results[3]] == [str(name) for name in names]


def test_with_a_batch_of_one_no_picture_is_taken_before_the_last_ones_result(bundle, tmp_path):
    images.write(tmp_path / "a.png", scene(RED))
    taken = []

    def names():
        for i in range(5):
            taken.append(i)
            yield tmp_path / "a.png"

    stream = Scanner(bundle, provider="cpu", threads=2, locator=Blobs()).images(names(), batch=1)
    next(stream)
    assert taken == [0]
