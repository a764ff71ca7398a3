import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fauxface.yunet import OUTPUTS, STRIDES, WIDTHS, decode

SIZE = (64, 96)


def blank(size=SIZE):
    cells = [(size[0] // stride) * (size[1] // stride) for stride in STRIDES]
    return [np.zeros((1, n, width), np.float32) for width in WIDTHS.values() for n in cells]


def put(outputs, name, cell, values):
    outputs[OUTPUTS.index(name)][0, cell] = values


def face(outputs, stride, cell, score=0.9, *, size=(2.0, 2.0), offset=(0.5, 0.5)):
    for kind in ("cls", "obj"):
        put(outputs, f"{kind}_{stride}", cell, score)
    put(outputs, f"bbox_{stride}", cell, [*offset, *np.log(size)])


def test_a_face_is_decoded_from_its_cell():
    outputs = blank()
    cell = 1 * (96 // 16) + 2  # row 1, column 2 at stride 16
    put(outputs, "cls_16", cell, 0.9)
    put(outputs, "obj_16", cell, 0.4)
    put(outputs, "bbox_16", cell, [0.5, 0.25, np.log(2), np.log(3)])
    put(outputs, "kps_16", cell, np.arange(10) / 10)
    (row,) = decode(outputs, SIZE, 0.5, 0.3)
    assert row[:4] == pytest.approx([40 - 16, 20 - 24, 32, 48])
    assert row[4:6] == pytest.approx([32, 17.6])
    assert row[12:14] == pytest.approx([(2 + 0.8) * 16, (1 + 0.9) * 16])
    assert row[14] == pytest.approx(0.6)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(
    ("score", "found"), [(0.59, 0), (0.6, 1), (1.0, 1), (7.0, 1), (-3.0, 0), (np.nan, 0)]
)
def test_scores_are_clipped_and_compared(stride, score, found):
    outputs = blank()
    face(outputs, stride, 1, score)
    rows = decode(outputs, SIZE, np.float32(0.6), 0.3)
    assert rows.shape == (found, 15)
    assert (rows[:, 14] <= 1).all()


@pytest.mark.parametrize(("shift", "kept"), [(0.0, 1), (4.0, 1), (14.0, 2), (40.0, 2)])
def test_of_boxes_that_overlap_the_best_is_kept(shift, kept):
    outputs = blank()
    face(outputs, 8, 13, 0.7, size=(3, 3))
    face(outputs, 8, 14, 0.8, size=(3, 3), offset=((shift - 4) / 8, 0.5))
    rows = decode(outputs, SIZE, 0.5, 0.3)
    assert len(rows) == kept
    assert rows[:, 14].tolist() == sorted(rows[:, 14].tolist(), reverse=True)
    assert rows[0, 14] == pytest.approx(0.8)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 500.0])
def test_faces_that_are_not_finite_are_dropped(value):
    outputs = blank()
    face(outputs, 8, 3)
    face(outputs, 32, 1)
    outputs[OUTPUTS.index("bbox_32")][0, 1, 2] = value
    rows = decode(outputs, SIZE, 0.5, 0.3)
    assert np.isfinite(rows).all()
    assert len(rows) == (2 if value == -np.inf else 1)


@pytest.mark.parametrize("name", ["cls_8", "obj_16", "bbox_32", "kps_8"])
@pytest.mark.parametrize("change", [lambda v: v[:, :-1], lambda v: v[0], lambda v: v[..., :0]])
def test_maps_of_other_shapes_are_refused(name, change):
    outputs = blank()
    outputs[OUTPUTS.index(name)] = change(outputs[OUTPUTS.index(name)])
    with pytest.raises(ValueError, match=f"its output {name} is"):
        decode(outputs, SIZE, 0.5, 0.3)


CELLS = sum((32 // stride) * (64 // stride) for stride in STRIDES)


@given(
    arrays(np.float32, (CELLS, 16), elements=st.floats(-90, 90, width=32) | st.just(np.nan)),
    st.sampled_from([0.01, 0.3, 0.6, 0.99]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_maps_give_finite_faces_above_the_threshold(values, threshold):
    outputs = blank((32, 64))
    starts = np.cumsum([0, *(output.shape[1] for output in outputs[:3])])
    columns = {"cls": slice(0, 1), "obj": slice(1, 2), "bbox": slice(2, 6), "kps": slice(6, 16)}
    for i, name in enumerate(OUTPUTS):
        outputs[i][0] = values[starts[i % 3] : starts[i % 3 + 1], columns[name.split("_")[0]]]
    rows = decode(outputs, (32, 64), threshold, 0.3)
    assert np.isfinite(rows).all()
    assert (rows[:, 14] >= np.float32(threshold)).all()
    assert (rows[:, 2:4] >= 0).all()
    assert (np.diff(rows[:, 14]) <= 0).all()
