import numpy as np
import pytest
from PIL import Image, ImageDraw

from fauxface import annotate
from fauxface.annotate import COLORS, draw, percent
from fauxface.results import Face, ItemError, Result

MODEL = "0" * 64
LABELS = ("bona_fide", "generated", "unsure")


def face(box, label="generated", p=0.97):
    return Face(box, (), 0.9, p, label, None, int(max(box[2:])))


def result(*faces):
    error = None if faces else ItemError("NoFaceError", "no face")
    return Result("a.jpg", None, None, error, faces, MODEL)


def where(image, color):
    return (image == np.array(color, np.uint8)).all(axis=2)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0, "0%"), (0.004, "<1%"), (0.01, "1%"), (0.5, "50%"), (0.99, "99%"), (0.996, ">99%"), (1, "100%")],
)
def test_percent(p, text):
    assert percent(p) == text


@pytest.mark.parametrize("label", LABELS)
def test_verdict_has_its_color_and_the_input_is_left_alone(label):
    image = np.full((400, 600, 3), 128, np.uint8)
    drawn = draw(image, result(face((200, 150, 120, 160), label)))
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert drawn.flags.writeable
    assert (image == 128).all()
    assert where(drawn, COLORS[label]).sum() > 200
    assert not any(where(drawn, COLORS[other]).any() for other in LABELS if other != label)


def test_verdicts_differ_in_shape_alone():
    masks = []
    for label in LABELS:
        drawn = draw(np.full((400, 600, 3), 128, np.uint8), result(face((200, 150, 120, 160), label)))
        frame = np.zeros((400, 600), bool)
        frame[150:310, 200:320] = True
        masks.append(where(drawn, COLORS[label]) & frame)
    sides = [mask[170:290, 200:206].any(axis=1) for mask in masks]
    breaks = [int(np.count_nonzero(np.diff(side.astype(int)))) for side in sides]
    assert sides[0].all()
    assert 6 <= breaks[1] < breaks[2]


@pytest.mark.parametrize("background", [0, 128, 255, *[COLORS[label] for label in LABELS]])
@pytest.mark.parametrize("label", LABELS)
def test_readable_on_any_background(background, label):
    drawn = draw(np.full((300, 300, 3), background, np.uint8), result(face((80, 80, 120, 120), label)))
    black_text_on_color = where(drawn, (0, 0, 0)).sum()
    assert black_text_on_color > 100
    assert where(drawn, COLORS[label]).sum() > 200
    dark, light = 0.0, _luminance(COLORS[label])
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, contrast (minimum)


def _luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(color) / 255]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (16, 16), (64, 64), (128, 300), (2000, 1500)])
@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (-20, -20, 60, 60), (5, 5, 0.4, 0.4), (0, 0, 5000, 5000), (190, 2, 40, 40)]
)
@pytest.mark.parametrize("label", LABELS)
def test_any_size_and_place(shape, box, label):
    drawn = draw(np.full((*shape, 3), 128, np.uint8), result(face(box, label)))
    assert drawn.shape == (*shape, 3)


def test_text_grows_with_the_picture():
    heights = []
    for side in (300, 600, 1200):
        box = (side * 0.3, side * 0.4, side * 0.4, side * 0.4)
        drawn = draw(np.full((side, side, 3), 128, np.uint8), result(face(box)))
        rows = where(drawn, COLORS["generated"])[: int(side * 0.4)].any(axis=1)
        heights.append(int(rows.sum()))
    assert heights[0] < heights[1] < heights[2]


def test_labels_neither_cover_each_other_nor_leave_the_picture(monkeypatch):
    placed = []
    original = annotate._draw_label
    monkeypatch.setattr(
        annotate, "_draw_label", lambda pen, rect, label: placed.append(rect) or original(pen, rect, label)
    )
    boxes = [(20 + 150 * (i % 4), 40 + 180 * (i // 4), 90, 110) for i in range(12)]
    draw(
        np.zeros((600, 640, 3), np.uint8), result(*[face(box, LABELS[i % 3]) for i, box in enumerate(boxes)])
    )
    assert len(placed) == 12
    for i, one in enumerate(placed):
        assert one[0] >= 0
        assert one[1] >= 0
        assert one[2] <= 640
        assert one[3] <= 600
        assert all(annotate._overlap(one, other) == 0 for other in placed[i + 1 :])


def test_picture_without_a_face_says_so():
    drawn = draw(np.zeros((300, 400, 3), np.uint8), result())
    assert drawn[:40, :200].any()
    assert not drawn[100:].any()


@pytest.mark.parametrize(
    ("label", "p", "text"),
    [
        ("bona_fide", 0.03, "bona fide (3% generated)"),
        ("unsure", 0.5, "unsure (50% generated)"),
        ("generated", 0.97, "generated 97%"),
    ],
)
def test_a_label_has_its_sign_its_word_and_the_probability_of_generated(label, p, text, monkeypatch):
    drawn = []
    monkeypatch.setattr(annotate, "_draw_label", lambda pen, rect, made: drawn.append((made.icon, made.text)))
    draw(np.zeros((600, 800, 3), np.uint8), result(face((100, 100, 400, 400), label, p)))
    assert drawn == [(label, text)]


@pytest.mark.parametrize(("label", "left", "right"), [("bona_fide", False, True), ("generated", True, True)])
def test_a_check_mark_and_a_cross(label, left, right):
    canvas = Image.new("RGB", (60, 60), "white")
    annotate._draw_icon(ImageDraw.Draw(canvas), (0, 0, 60), label)
    dark = np.asarray(canvas)[:15, :, 0] == 0
    assert (dark[:, :15].any(), dark[:, 45:].any()) == (left, right)


@pytest.mark.parametrize("label", LABELS)
def test_a_frame_has_a_black_rim(label):
    drawn = draw(np.full((300, 300, 3), COLORS[label], np.uint8), result(face((80, 80, 120, 120), label)))
    assert where(drawn, (0, 0, 0))[100:180, 80].sum() > 30
