import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface import onnx_wire
from fauxface.errors import BundleError
from fauxface.onnx_wire import check_self_contained

DATA = Path(__file__).parents[1] / "data"
CLASSIFIER = (DATA / "tiny_bundle" / "classifier.onnx").read_bytes()
OUTSIDE = (DATA / "attacks" / "nested_external_data.onnx").read_bytes()


@pytest.mark.parametrize("name", ["classifier", "locator"])
def test_self_contained_models_pass(name):
    check_self_contained((DATA / "tiny_bundle" / f"{name}.onnx").read_bytes(), "model")


@pytest.mark.parametrize(
    ("attack", "part"),
    [
        ("external_data", "external data"),
        ("memory_address", "external data"),
        ("nested_external_data", "external data"),
        ("function_external_data", "external data"),
        ("sparse_external_data", "external data"),
        ("ep_context", "EPContext"),
    ],
)
def test_models_that_reach_outside(attack, part):
    with pytest.raises(BundleError, match=part):
        check_self_contained((DATA / "attacks" / f"{attack}.onnx").read_bytes(), "model")


def complaint_about(action, *arguments):
    """Return the message with which the action refused its arguments, or None where it accepted them."""
    try:
        action(*arguments)
    except BundleError as error:
        return str(error)
    return None


def nested_subgraphs(depth):
    """Return a model of graphs in attributes of nodes of graphs."""

    def field(number, payload):
        size, head = len(payload), bytearray([number << 3 | 2])
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes([*head, size]) + payload

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def test_depth_is_bounded():
    check_self_contained(nested_subgraphs(20), "model")
    with pytest.raises(BundleError, match="nests more than"):
        check_self_contained(nested_subgraphs(5000), "model")


def test_many_small_messages_take_no_memory_of_their_own():
    nodes = b"\x0a\x00" * 50_000
    graph = bytes([7 << 3 | 2, 0xA0, 0x8D, 0x06]) + nodes
    tracemalloc.start()
    try:
        check_self_contained(graph, "model")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(CLASSIFIER) - 1), st.binary(max_size=8))
def test_the_walk_ends_with_a_verdict(noise, position, patch):
    for data in (noise, CLASSIFIER[:position] + patch + CLASSIFIER[position:], CLASSIFIER[:position]):
        assert "\n" not in (complaint_about(check_self_contained, data, "model") or "")


@settings(derandomize=True, deadline=None)
@given(st.sampled_from([b"\x08\x08", b"\x12\x03abc", b"\xa8\x01\x05", b"\xad\x01abcd", b"\xa9\x01abcdefgh"]))
def test_the_walk_passes_unknown_fields(field):
    check_self_contained(field + CLASSIFIER + field, "model")
    with pytest.raises(BundleError, match="external data"):
        check_self_contained(field + OUTSIDE + field, "model")


def test_the_number_of_fields_is_bounded(monkeypatch):
    monkeypatch.setattr(onnx_wire, "_MAX_FIELDS", 100)
    graph = bytes([7 << 3 | 2, 0])
    check_self_contained(b"\x08\x01" * 99 + graph, "model")
    with pytest.raises(BundleError, match="has more than 100 fields"):
        check_self_contained(b"\x08\x01" * 100 + graph, "model")
