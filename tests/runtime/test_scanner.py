import itertools
import json
import shutil
import threading
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from fauxface import Bundle, Scanner, cutting, images
from fauxface import scanner as scanner_module
from fauxface.bundle import write_manifest
from fauxface.errors import BundleError, ImageError, ProviderError, SourceError, VideoError
from fauxface.locator import Location
from fauxface.video import Frame, FrameWriter

TINY_BUNDLE = Path(__file__).parents[1] / "data/tiny_bundle"
GRAY, PINK, RED = (128, 128, 128), (153, 128, 128), (255, 0, 0)
LABELS = {GRAY: "bona_fide", PINK: "unsure", RED: "generated"}


class Blobs:
    """A locator whose faces are the connected areas that aren't black."""

    def locate(self, image):
        _, _, stats, _ = cv2.connectedComponentsWithStats((image.max(axis=2) > 40).astype(np.uint8))
        found = []
        for x, y, w, h, _ in stats[1:].tolist():
            points = tuple((float(x), float(y)) for _ in range(5))
            found.append(Location((float(x), float(y), float(w), float(h)), points, 0.9))
        return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)


class CountingClassifier:
    def __init__(self, inner):
        self.inner, self.batches, self.threads = inner, [], inner.threads

    def logits(self, crops):
        self.batches.append(len(crops))
        return self.inner.logits(crops)


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load(TINY_BUNDLE)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def scanner(bundle, request):
    made = Scanner(bundle, provider="cpu", threads=request.param, locator=Blobs())
    made._classifier = made._sharing = CountingClassifier(made._classifier)
    return made


def scene(*colors, side=64):
    """A black picture with a square of each colour, from left to right."""
    image = np.zeros((side + 40, max(1, len(colors)) * (side + 40), 3), np.uint8)
    for i, color in enumerate(colors):
        x = 20 + i * (side + 40)
        image[20 : 20 + side, x : x + side] = color
    return image


def frames(count, color=GRAY, log=None):
    for i in range(count):
        if log is not None:
            log.append(i)
        yield Frame(i, i / 25, scene(color))


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


def test_images_are_taken_lazily(scanner):
    taken = []

    def pictures():
        for i in range(10):
            taken.append(i)
            yield scene(RED)

    stream = scanner.images(pictures(), batch=2)
    next(stream)
    assert taken == [0, 1]


def test_large_pictures_are_not_held_back(scanner, monkeypatch):
    monkeypatch.setattr(cutting, "_HELD_PIXELS", 3 * scene(RED).shape[0] * scene(RED).shape[1])
    assert len(list(scanner.scan_pictures([scene(RED)] * 7))) == 7
    assert scanner._classifier.batches == [3, 3, 1]
    assert all(image is None for _, image in scanner.scan_pictures([scene(RED)] * 7, keep=False))
    assert scanner._classifier.batches == [3, 3, 1, 7]


@pytest.mark.parametrize("batch", [0, -1])
def test_batch_below_one_is_refused(scanner, batch):
    with pytest.raises(ValueError, match="batch"):
        list(scanner.images([], batch=batch))


def test_live_frames_come_out_at_once(scanner):
    log = []
    stream = scanner.scan_frames(frames(100, log=log), "camera:0", live=True)
    for i in range(3):
        result, image = next(stream)
        assert result.frame == i
        assert image is not None
        assert log == list(range(i + 1))


def test_frames_of_a_file_share_an_inference(scanner):
    results = [result for result, _ in scanner.scan_frames(frames(5, RED), "clip.mp4", batch=4)]
    assert sorted(scanner._classifier.batches) == [1, 4]
    assert [(r.frame, r.time_s, r.source) for r in results] == [(i, i / 25, "clip.mp4") for i in range(5)]


@pytest.mark.parametrize("pictures", [True, False])
def test_frames_are_handed_out_as_rgb(scanner, pictures):
    shown = scene(RED)
    stream = scanner.scan_frames(
        iter([Frame(0, 0.0, shown[..., ::-1].copy(), "BGR")]), "a", pictures=pictures
    )
    ((result, image),) = stream
    assert [face.label for face in result.faces] == ["generated"]
    if pictures:
        np.testing.assert_array_equal(image, shown)
    else:
        assert image is None


def moving(count, size=(320, 240)):
    """A clip of two faces that move and change, and of frames without one, as the decoder gives them."""
    rng = np.random.default_rng(3)
    for i in range(count):
        image = rng.integers(0, 20, (size[1], size[0], 3), np.uint8)
        if i % 9 != 8:
            image[40:120, 30 + 2 * i : 110 + 2 * i] = (40 + 4 * i, 90, 200 - 3 * i)
        yield Frame(i, i / 25, image, "BGR")


@pytest.mark.parametrize("locate_every", [1, 4])
@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("batch", [1, 5, 32])
def test_overlapping_stages_change_nothing(bundle, batch, pictures, locate_every, monkeypatch):
    monkeypatch.setattr(cutting, "_HELD_PIXELS", 4 * 320 * 240)
    scanner = Scanner(bundle, provider="cpu", threads=3)
    streams = [
        scanner.scan_frames(
            moving(40), "clip", batch=batch, pictures=pictures, locate_every=locate_every, overlap=overlap
        )
        for overlap in (False, True)
    ]
    for (result, image), (other, other_image) in zip(*streams, strict=True):
        assert result == other
        assert (image is None) == (other_image is None) == (not pictures)
        if image is not None and other_image is not None:
            np.testing.assert_array_equal(image, other_image)
    assert sum(len(r.faces) for r, _ in scanner.scan_frames(moving(40), "clip")) >= 34


def test_videos_can_be_scanned_side_by_side(bundle):
    scanner = Scanner(bundle, provider="cpu", threads=2)
    alone = [result for result, _ in scanner.scan_frames(moving(12), "clip")]
    pairs = zip(*(scanner.scan_frames(moving(12), "clip") for _ in range(3)), strict=True)
    for expected, found in zip(alone, pairs, strict=True):
        assert [result for result, _ in found] == [expected] * 3


@pytest.mark.parametrize("stop", ["close", "drop", "interrupt"])
def test_a_scan_that_stops_early_leaves_no_thread(bundle, stop):
    scanner = Scanner(bundle, provider="cpu", threads=2)
    before = threading.active_count()
    stream = scanner.scan_frames(itertools.cycle(moving(5)), "clip", batch=2)
    next(stream)
    assert threading.active_count() > before
    if stop == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt())
    elif stop == "close":
        stream.close()
    del stream
    assert threading.active_count() == before


@pytest.mark.parametrize("broken", ["locate", "logits"])
def test_error_of_a_stage_reaches_the_caller(scanner, monkeypatch, broken):
    def fail(*_):
        raise BundleError("broken")

    monkeypatch.setattr(scanner._locator if broken == "locate" else scanner._classifier, broken, fail)
    with pytest.raises(BundleError, match="broken"):
        list(scanner.scan_frames(frames(3), "clip"))


def test_few_frames_are_in_memory_at_once(bundle):
    """Whatever the length of the clip: the ones in work, and those between two stages."""
    scanner = Scanner(bundle, provider="cpu", threads=2, locator=Blobs())
    references, peak = [], 0

    class Pixels(np.ndarray):
        pass

    def clip():
        nonlocal peak
        for i in range(120):
            pixels = scene(RED).view(Pixels)
            references.append(weakref.ref(pixels))
            peak = max(peak, sum(reference() is not None for reference in references))
            yield Frame(i, i / 25, pixels)

    assert len(list(scanner.scan_frames(clip(), "clip", pictures=False))) == 120
    assert peak <= 8


@pytest.mark.parametrize("every", [0, -1])
def test_locate_every_below_one_is_refused(scanner, every):
    with pytest.raises(ValueError, match="locate_every"):
        list(scanner.scan_frames(frames(2), "clip", locate_every=every))


def test_frame_without_a_face_has_no_error(scanner):
    stream = scanner.scan_frames(iter([Frame(0, 0.0, np.zeros((90, 90, 3), np.uint8))]), "clip.mp4")
    (result, _) = next(stream)
    assert (result.faces, result.error) == ((), None)


def test_video_that_breaks_off_ends_with_its_error(scanner):
    def broken():
        yield from frames(3)
        raise VideoError("the video ends early")

    results = [result for result, _ in scanner.scan_frames(broken(), "clip.mp4")]
    assert [r.frame for r in results] == [0, 1, 2, None]
    assert results[-1].error is not None
    assert results[-1].error.type == "VideoError"


def failing():
    raise VideoError("no frame could be decoded")
    yield


@pytest.mark.parametrize("stream", [lambda: iter(()), failing])
def test_video_without_frames_is_an_error(scanner, stream):
    with pytest.raises(VideoError, match="no frame"):
        list(scanner.scan_frames(stream(), "clip.mp4"))


@pytest.mark.parametrize(("every", "expected"), [(1, list(range(6))), (2, [0, 2, 4]), (10, [0])])
def test_video_file(scanner, tmp_path, every, expected):
    path = tmp_path / "clip.mp4"
    with FrameWriter(path, 10, (104, 104)) as writer:
        for _ in range(6):
            writer.write(scene(RED))
    results = list(scanner.video(path, every=every))
    assert [r.frame for r in results] == expected
    assert [r.time_s for r in results] == pytest.approx([i / 10 for i in expected])
    assert all(r.faces[0].p_generated > 0.5 for r in results)


@pytest.mark.parametrize(
    ("source", "error"), [("absent.mp4", SourceError), ("", SourceError), ("empty.mp4", VideoError)]
)
def test_video_that_cannot_be_opened(scanner, tmp_path, monkeypatch, source, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(error):
        list(scanner.video(source))


@pytest.mark.parametrize(
    "locator", ["absent.onnx", "folder", TINY_BUNDLE / "classifier.onnx", TINY_BUNDLE / "MODEL_CARD.md"]
)
def test_locator_file_that_is_none(bundle, tmp_path, monkeypatch, locator):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(BundleError, match="locator"):
        Scanner(bundle, locator=locator)


def test_other_locator_file_changes_the_model(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(scanner_module, "Locator", lambda *args, **options: Blobs())
    (tmp_path / "same.onnx").write_bytes(bundle.locator_bytes())
    (tmp_path / "other.onnx").write_bytes(b"other")
    models = {name: Scanner(bundle, locator=tmp_path / name).model for name in ("same.onnx", "other.onnx")}
    assert models["same.onnx"] == bundle.sha256
    assert models["other.onnx"] != bundle.sha256
    assert len(models["other.onnx"]) == 64


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
