import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fauxface.yunet import OUTPUTS, STRIDES, WIDTHS
from fauxface_train.locator.decode import CHANNELS, decode, iou, match, pack

BOXES = arrays(np.float64, st.tuples(st.integers(0, 8), st.just(4)), elements=st.floats(1, 60, width=32))


def blank(height, width):
    cells = sum((height // s) * (width // s) for s in STRIDES)
    return np.zeros((cells, CHANNELS), np.float32)


def test_a_face_is_decoded_from_its_cell():
    maps = blank(64, 96)
    index = (64 // 8) * (96 // 8) + 1 * (96 // 16) + 2  # stride 16, row 1, column 2
    maps[index, 0], maps[index, 1] = 0.9, 0.4
    maps[index, 2:4] = 0.5, 0.25
    maps[index, 4:6] = np.log([2, 3])
    maps[index, 6:] = np.arange(10) / 10
    faces = decode(maps, 64, 96, 0.5)
    assert faces.shape == (1, 15)
    assert faces[0, 14] == pytest.approx(0.6)
    assert faces[0, :4] == pytest.approx([40 - 16, 20 - 24, 32, 48])
    assert faces[0, 4:6] == pytest.approx([32, 17.6])
    assert faces[0, 12:14] == pytest.approx([(2 + 0.8) * 16, (1 + 0.9) * 16])


def test_a_score_below_the_threshold_is_dropped():
    maps = blank(32, 32)
    maps[3, :2] = 0.59
    assert len(decode(maps, 32, 32, 0.6)) == 0
    assert len(decode(maps, 32, 32, 0.58)) == 1


def test_packing_keeps_the_order_of_the_outputs():
    rng = np.random.default_rng(0)
    sizes = {8: 16, 16: 4, 32: 1}
    outputs = {
        name: rng.random((1, sizes[int(name.split("_")[1])], WIDTHS[name.split("_")[0]])) for name in OUTPUTS
    }
    packed = pack(outputs)
    assert packed.shape == (21, CHANNELS)
    assert (packed[16:20, 0:1] == outputs["cls_16"][0]).all()
    assert (packed[20:, 2:6] == outputs["bbox_32"][0]).all()
    assert (packed[:16, 6:] == outputs["kps_8"][0]).all()


@settings(deadline=None, derandomize=True)
@given(BOXES, BOXES)
def test_iou_is_symmetric_and_within_the_unit_interval(first, second):
    values = iou(first, second)
    assert values.shape == (len(first), len(second))
    assert ((values >= 0) & (values <= 1 + 1e-9)).all()
    assert values == pytest.approx(iou(second, first).T)
    assert np.diag(iou(first, first)) == pytest.approx(np.ones(len(first)))


@settings(deadline=None, derandomize=True)
@given(BOXES, BOXES, st.floats(0.05, 0.9))
def test_matching_is_one_to_one_and_holds_its_limit(first, second, limit):
    pairs = match(first, second, limit)
    assert len({row for row, _, _ in pairs}) == len({column for _, column, _ in pairs}) == len(pairs)
    overlaps = iou(first, second)
    assert all(overlaps[row, column] == value >= limit for row, column, value in pairs)
    free_rows = set(range(len(first))) - {row for row, _, _ in pairs}
    free_columns = set(range(len(second))) - {column for _, column, _ in pairs}
    assert all(overlaps[row, column] < limit for row in free_rows for column in free_columns)


def test_the_better_pair_is_matched_first():
    reference = np.array([[0, 0, 10, 10], [3, 0, 10, 10]], float)
    found = np.array([[2.5, 0, 10, 10]], float)
    assert [(row, column) for row, column, _ in match(reference, found, 0.3)] == [(1, 0)]
