import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface.errors import BundleError
from fauxface.gates import Gates
from fauxface.manifest import Manifest, lowest_version

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle" / "bundle.json"


def complaint_about(action, *arguments):
    """Return the message with which the action refused its arguments, or None where it accepted them."""
    try:
        action(*arguments)
    except BundleError as error:
        return str(error)
    return None


def refused(data, *parts):
    complaint = complaint_about(Manifest.parse, data)
    assert complaint is not None
    assert "\n" not in complaint
    for part in parts:
        assert part in complaint


@pytest.mark.parametrize(
    ("written", "gates"),
    [
        ({}, Gates()),
        ({"gates": {}}, Gates()),
        ({"gates": {"min_sharpness": 12, "max_yaw": None, "later": 1}}, Gates(min_sharpness=12)),
        ({"gates": {"max_yaw": 45.5, "max_roll": 40}}, Gates(max_yaw=45.5, max_roll=40)),
    ],
)
def test_gates_are_optional(written, gates):
    document = json.loads(TINY.read_bytes()) | written
    manifest = Manifest.parse(json.dumps(document).encode())
    assert manifest.gates == gates


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({}, "1.0"),
        ({"gates": {}}, "1.0"),
        ({"gates": {"max_yaw": 40}}, "1.1"),
        ({"int8_weight_bits": 7}, "1.2"),
        ({"int8_weight_bits": 7, "locator": {"min_scale": 0.6}}, "1.3"),
        ({"locator": {"max_side": 640}}, "1.0"),
        ({"locator": {"min_scale": 0.6, "int8": "locator.int8.onnx"}}, "1.4"),
    ],
)
def test_a_writer_names_the_lowest_version_that_will_do(fields, version):
    assert lowest_version(fields) == version


MISSING = object()

FIELD_CASES = [
    ("format", [MISSING, "fauxface", 1, None]),
    (
        "version",
        [MISSING, "1", "2.0", "0.9", "10.0", "1.x", "1.0.0", 1.0, None, "1.0\n", "01.0", "1.00", "\u0661.0"],
    ),
    ("name", [MISSING, "", "x" * 101, 3, "two\nlines", "\u001b[31mred"]),
    (
        "created",
        [MISSING, "yesterday", "2026-02-30T00:00:00Z", "2026-01-31T12:00:00+01:00", "2026-1-1T1:1:1Z", 0],
    ),
    (
        "labels",
        [MISSING, "generated", [], ["generated", "bona_fide"], ["bona_fide", "generated", "x"], [0, 1]],
    ),
    ("input", [MISSING, [], "uint8"]),
    ("input.size", [MISSING, 224, 128.0, "128", True]),
    ("input.layout", [MISSING, "NCHW", None]),
    ("input.dtype", [MISSING, "float32", ["uint8"]]),
    ("input.color", [MISSING, "BGR", {}]),
    ("crop", [MISSING, None]),
    ("crop.margin", [MISSING, "1.2", 0, 0.49, 4.01, -1, float("nan"), float("inf"), True, [1.2]]),
    ("crop.padding", [MISSING, "zero"]),
    ("crop.resize", [MISSING, "linear"]),
    ("crop.min_face_px", [MISSING, 0, -1, 40.0, "40", False, 4097]),
    ("locator", [MISSING, "locator.onnx"]),
    ("locator.file", [MISSING, "nowhere.onnx", 1, "bundle.json", "/etc/passwd", "../x"]),
    ("locator.format", [MISSING, "haar"]),
    ("locator.score_threshold", [MISSING, 0, 1, float("nan"), "0.6"]),
    ("locator.nms_threshold", [MISSING, 0, 1.01, float("-inf"), None]),
    ("locator.max_side", [MISSING, 31, 8193, 640.5]),
    ("locator.int8", ["nowhere.onnx", 5, "a\nb"]),
    ("locator.min_scale", [0, -0.5, 1.01, "0.6", True, float("nan")]),
    ("classifier", [MISSING, "classifier.onnx"]),
    ("classifier.fp32", [MISSING, "nowhere.onnx", 5, ""]),
    ("classifier.int8", ["nowhere.onnx", 5]),
    ("calibration", [MISSING, 1.0]),
    ("calibration.temperature", [MISSING, 0, -1, float("nan"), float("inf"), "1"]),
    ("calibration.bias", [MISSING, float("nan"), 1001, None]),
    ("calibration.fitted_on", [1, "x" * 1001, "a\tb"]),
    ("thresholds", [MISSING, [0.5, 0.5]]),
    ("thresholds.bona_fide_below", [MISSING, -0.01, 1.01, float("nan"), "0.5"]),
    ("thresholds.generated_from", [MISSING, 0.29, 1.01, float("nan"), None]),
    ("gates", [None, [], 12]),
    ("gates.min_sharpness", [-1, "12", True, float("nan")]),
    ("gates.max_yaw", [0, 91, [40]]),
    ("gates.max_roll", [0.5, 181, "x"]),
    ("golden", [MISSING, "nowhere.npz", 1]),
    ("card", [MISSING, "nowhere.md", None]),
    ("weights_license", ["nowhere.md", 1]),
    ("files", [MISSING, [], {}, {f"f{index}": {} for index in range(65)}]),
    ("parity", ["good", None]),
    ("metrics", [[], 0.99]),
    ("metrics.auroc", [float("nan"), float("inf")]),
    ("provenance", [1]),
]


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in FIELD_CASES for value in values],
    ids=lambda value: "missing" if value is MISSING else str(value)[:20].encode("unicode_escape").decode(),
)
def test_a_wrong_field_is_named(field, value):
    document = json.loads(TINY.read_bytes())
    *parents, last = field.split(".")
    target = document
    for key in parents:
        target = target.setdefault(key, {})
    if value is MISSING:
        del target[last]
    else:
        target[last] = value
    refused(json.dumps(document).encode(), "bundle.json", field)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (5, "files.golden.npz"),
        ({"bytes": 1}, "files.golden.npz.sha256"),
        ({"sha256": "0" * 63, "bytes": 1}, "files.golden.npz.sha256"),
        ({"sha256": "A" * 64, "bytes": 1}, "files.golden.npz.sha256"),
        ({"sha256": 0, "bytes": 1}, "files.golden.npz.sha256"),
        ({"sha256": "0" * 64}, "files.golden.npz.bytes"),
        ({"sha256": "0" * 64, "bytes": -1}, "files.golden.npz.bytes"),
        ({"sha256": "0" * 64, "bytes": 1.0}, "files.golden.npz.bytes"),
        ({"sha256": "0" * 64, "bytes": 1 << 40}, "files.golden.npz.bytes"),
    ],
)
def test_a_wrong_file_entry_is_named(entry, field):
    document = json.loads(TINY.read_bytes())
    document["files"]["golden.npz"] = entry
    refused(json.dumps(document).encode(), field)


@pytest.mark.parametrize(
    "name",
    [
        "../classifier.onnx",
        "..",
        ".",
        "",
        "/etc/passwd",
        "C:\\model.onnx",
        "C:model.onnx",
        "a\\b",
        "a/../b",
        "a//b",
        "a/",
        "a/b/c",
        ".hidden",
        "a/.hidden",
        "~/x",
        "a b",
        "a\nb",
        "a\0b",
        "é",
        "x" * 101,
        "bundle.json",
        "Bundle.JSON",
    ],
)
def test_unsafe_names(name):
    document = json.loads(TINY.read_bytes())
    document["files"][name] = document["files"]["golden.npz"]
    refused(json.dumps(document).encode(), "bundle.json: files names")


def test_files_beyond_a_gibibyte_in_all():
    document = json.loads(TINY.read_bytes())
    entry = document["files"]["golden.npz"]
    document["files"] |= {f"more{i}.npz": entry | {"bytes": 1 << 29} for i in range(2)}
    refused(json.dumps(document).encode(), "more than 1073741824 bytes in all")


def test_names_that_differ_in_case():
    document = json.loads(TINY.read_bytes())
    document["files"]["GOLDEN.npz"] = document["files"]["golden.npz"]
    refused(json.dumps(document).encode(), "differ only in case")


@pytest.mark.parametrize("version", ["1.1", "1.42"])
def test_a_later_minor_version_with_unknown_fields_is_accepted(version):
    document = json.loads(TINY.read_bytes())
    document |= {"version": version, "novelty": {"x": 1}}
    document["crop"]["novelty"] = "y"
    assert Manifest.parse(json.dumps(document).encode()).version == version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"name": "tiny"', '"name": "tiny", "name": "other"'),
        ('"margin": 1.2', '"margin": 1.2, "margin": 2'),
        ('"bytes"', '"bytes": 1, "bytes"'),
        ('"made_by"', '"x": {"y": 1, "y": 2}, "made_by"'),
    ],
)
def test_duplicate_keys(old, new):
    text = TINY.read_text()
    assert old in text
    refused(text.replace(old, new, 1).encode(), "bundle.json", "occurs twice")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"format": "fauxface.bundle",}',
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf{}",
        b'{"format": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"format": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b" " * (1 << 20) + b"{}",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_malformed_manifests(data):
    refused(data, "bundle.json")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"temperature": 1.0', '"temperature": 1e999', "calibration.temperature is inf, not a finite number"),
        ('"name": "tiny"', f'"name": "tiny", "metrics": {{"x": [{10**400}]}}', "metrics.x[0] is 10000"),
        ('"name": "tiny"', f'"name": "tiny", "novelty": {-(10**400)}', "novelty is -10000"),
    ],
)
def test_a_number_that_overflows_is_named(old, new, message):
    text = TINY.read_text()
    assert old in text
    text = text.replace('"metrics": {', '"other": {') if "metrics" in new else text
    refused(text.replace(old, new, 1).encode(), message)


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_refused(data):
    with pytest.raises(BundleError):
        Manifest.parse(data)


TINY_DOCUMENT = json.loads(TINY.read_bytes())
PATHS = [(key,) for key in TINY_DOCUMENT] + [
    (key, inner) for key, value in TINY_DOCUMENT.items() if isinstance(value, dict) for inner in value
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(PATHS), JSON_VALUES)
def test_any_value_in_any_field_is_accepted_or_refused(path, value):
    document = json.loads(json.dumps(TINY_DOCUMENT))
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    data = json.dumps(document).encode()
    complaint = complaint_about(Manifest.parse, data)
    if complaint is None:
        manifest = Manifest.parse(data)
        assert manifest.calibration.temperature > 0
        assert manifest.thresholds.bona_fide_below <= manifest.thresholds.generated_from
    else:
        assert "\n" not in complaint


def with_variant(**changes):
    document = json.loads(TINY.read_bytes())
    document |= {"version": "1.1", "classifier": {"fp32": "classifier.onnx", "int8": "classifier.onnx"}}
    point = {
        "calibration": {"temperature": 2.0, "bias": 0.5},
        "thresholds": {"bona_fide_below": 0.2, "generated_from": 0.8},
    }
    return document | {"operating_points": {"int8": point}} | changes


def test_an_operating_point_of_a_precision_replaces_both_parts():
    manifest = Manifest.parse(json.dumps(with_variant(variants={"int8": {"flips": 0.01}})).encode())
    own = manifest.operating_point("int8")
    assert (own.calibration.temperature, own.thresholds.generated_from) == (2.0, 0.8)
    for other in ("fp32", "fp16"):
        point = manifest.operating_point(other)
        assert (point.calibration, point.thresholds) == (manifest.calibration, manifest.thresholds)
    assert manifest.operating_point() == manifest.operating_point("fp32")
    assert manifest.variants == {"int8": {"flips": 0.01}}


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ((), 5, "operating_points"),
        ((), None, "operating_points"),
        (("int8",), [], "operating_points.int8"),
        (("int8",), {}, "operating_points.int8.calibration"),
        (("fp16",), MISSING, "operating_points.fp16 has no classifier"),
        (("int8", "calibration"), MISSING, "operating_points.int8.calibration"),
        (("int8", "thresholds"), MISSING, "operating_points.int8.thresholds"),
        (("int8", "calibration", "temperature"), 0, "operating_points.int8.calibration.temperature"),
        (("int8", "calibration", "bias"), "0", "operating_points.int8.calibration.bias"),
        (("int8", "thresholds", "bona_fide_below"), 1.1, "operating_points.int8.thresholds.bona_fide_below"),
        (("int8", "thresholds", "generated_from"), 0.1, "operating_points.int8.thresholds.generated_from"),
        (("int8", "thresholds", "rule"), 1, "operating_points.int8.thresholds.rule"),
    ],
)
def test_a_wrong_operating_point_is_named(path, value, field):
    document = with_variant()
    if path == ("fp16",):
        document["operating_points"]["fp16"] = document["operating_points"]["int8"]
    elif not path:
        document["operating_points"] = value
    else:
        target = document["operating_points"]
        for key in path[:-1]:
            target = target[key]
        if value is MISSING:
            del target[path[-1]]
        else:
            target[path[-1]] = value
    refused(json.dumps(document).encode(), "bundle.json", field)


@pytest.mark.parametrize(
    ("written", "bits"), [({}, 8), ({"int8_weight_bits": 8}, 8), ({"int8_weight_bits": 7}, 7)]
)
def test_bits_of_the_weights(written, bits):
    manifest = Manifest.parse(json.dumps(with_variant(**written)).encode())
    assert manifest.int8_weight_bits == bits


@pytest.mark.parametrize("bits", [1, 9, 7.5, "7", None, True])
def test_wrong_bits_are_named(bits):
    refused(json.dumps(with_variant(int8_weight_bits=bits)).encode(), "bundle.json: int8_weight_bits")


@pytest.mark.parametrize("variants", [5, [], "int8", None])
def test_wrong_variants_are_named(variants):
    refused(json.dumps(with_variant(variants=variants)).encode(), "bundle.json: variants")


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({}, "1.0"),
        ({"classifier": {"fp32": "a"}, "operating_points": {}, "variants": {}, "gates": {}}, "1.0"),
        ({"classifier": {"fp32": "a", "int8": "b"}}, "1.1"),
        ({"operating_points": {"int8": {}}}, "1.1"),
        ({"variants": {"int8": {}}}, "1.1"),
        ({"gates": {"max_yaw": 30}}, "1.1"),
        ({"int8_weight_bits": 7}, "1.2"),
    ],
)
def test_the_lowest_version_that_has_all_fields(change, version):
    assert lowest_version(json.loads(TINY.read_bytes()) | change) == version
