"""The manifest of a bundle: `bundle.json`, parsed and checked field by field (format: docs/bundle.md)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from fauxface.crops import INPUT_SIZE
from fauxface.errors import BundleError
from fauxface.gates import Gates
from fauxface.strict_json import MANIFEST_NAME, Fields, read, show, step
from fauxface.verdicts import LABELS, Calibration, Thresholds

FORMAT = "fauxface.bundle"
VERSION = "1.0"
"""What a bundle without any of the later fields is written as."""

_MAX_NAME = 100
_SINCE_1_1 = ("operating_points", "variants", "gates")
_ALL_BITS = 8

MAX_FILE_BYTES = 1 << 29
MAX_FILES = 64
MAX_BUNDLE_BYTES = 1 << 30

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SEMVER = re.compile(r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")
_TIME = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z")
_A_TIME = 'a UTC time such as "2026-01-31T12:00:00Z"'


def check_name(name: str) -> str:
    """Return a bundle's name.

    Raises:
        BundleError: No bundle may have it.
    """
    return Fields({"name": name}, "").text("name", _MAX_NAME)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the classifier takes: pictures of `size` x `size` pixels, uint8, NHWC, RGB."""

    size: int
    layout: str
    dtype: str
    color: str


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How a face becomes a picture for the classifier.

    Attributes:
        margin: Side of the square over the longer side of the face box.
        padding: How pixels beyond the picture are filled; "reflect101".
        resize: How a crop is resized; "halve-linear".
        min_face_px: Faces smaller than this many pixels are "unsure".
    """

    margin: float
    padding: str
    resize: str
    min_face_px: int


@dataclass(frozen=True, slots=True)
class LocatorSpec:
    """The face locator's file and settings.

    Attributes:
        file: Name of the ONNX file in the bundle.
        format: "yunet".
        score_threshold: Faces below this score are dropped; in (0, 1).
        nms_threshold: Overlap (IoU) from which the weaker of two faces is dropped; in (0, 1].
        max_side: Longest side in pixels of the copy on which faces are located.
        min_scale: The copy's longer side is the larger one of this share of the picture's, in (0, 1], and
            half of `max_side`, never more than `max_side`. None: it is `max_side`.
        int8: Name of the same locator's ONNX file in int8; None where there is none.
    """

    file: str
    format: str
    score_threshold: float
    nms_threshold: float
    max_side: int
    min_scale: float | None = None
    int8: str | None = None

    def sentence(self) -> str:
        """Return in words how large the copy is."""
        if self.min_scale is None:
            return f"a copy of at most {self.max_side} px"
        return (
            f"a copy of {self.max_side // 2} px, of large pictures {self.min_scale:g} of their size up to "
            f"{self.max_side} px"
        )


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What turns logits into a label.

    Attributes:
        calibration: From logits to probability.
        thresholds: From probability to label.
    """

    calibration: Calibration
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class FileEntry:
    """SHA-256 (lower-case hexadecimal) and length of one file of a bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest.

    Attributes:
        version: Format version as "major.minor".
        name: Name of the bundle.
        created: When it was made, UTC, for example "2026-01-31T12:00:00Z".
        labels: ("bona_fide", "generated").
        input: The classifier's input.
        crop: The crop rule.
        locator: The face locator.
        classifier: Precision ("fp32", ...) to name of the ONNX file.
        calibration: From logits to probability, in fp32; see `operating_point` for other precisions.
        thresholds: From probability to label, in fp32.
        gates: What a face must fulfil for its probability to count; without limits where absent.
        golden: Name of the file of golden crops and logits.
        card: Name of the model card, Markdown.
        weights_license: Name of the weights' licence, or None.
        files: Name to size and digest of every file but bundle.json.
        parity: What export measured; free-form.
        metrics: What evaluation measured; free-form.
        provenance: Where the weights come from; free-form.
        operating_points: Precision to what replaces calibration and thresholds there.
        variants: Precision to what export measured of that classifier; free-form.
        int8_weight_bits: How many bits the int8 classifier's quantised weights use, 2 to 8: with 7 they lie
            in -64 to 64, and CPUs that add two products in 16 bits compute them exactly.
    """

    version: str
    name: str
    created: str
    labels: tuple[str, ...]
    input: InputSpec
    crop: CropSpec
    locator: LocatorSpec
    classifier: Mapping[str, str]
    calibration: Calibration
    thresholds: Thresholds
    gates: Gates
    golden: str
    card: str
    weights_license: str | None
    files: Mapping[str, FileEntry]
    parity: Mapping[str, Any]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    operating_points: Mapping[str, OperatingPoint]
    variants: Mapping[str, Any]
    int8_weight_bits: int

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Parse and check the bytes of a bundle.json.

        Raises:
            BundleError: They aren't a manifest that this release reads; the message names the field.
        """
        document = read(data)
        version = _version(document)
        top = Fields(document, "")
        if top.strings("labels") != LABELS:
            raise top.wrong("labels", f"{list(LABELS)}")
        contract = top.object("input")
        crop = top.object("crop")
        locator = top.object("locator")
        point = _point(top)
        manifest = cls(
            version=version,
            name=top.text("name", _MAX_NAME),
            created=_created(top),
            labels=LABELS,
            input=InputSpec(
                size=contract.integer("size", INPUT_SIZE, INPUT_SIZE),
                layout=contract.one_of("layout", "NHWC"),
                dtype=contract.one_of("dtype", "uint8"),
                color=contract.one_of("color", "RGB"),
            ),
            crop=CropSpec(
                margin=crop.number("margin", 0.5, 4),
                padding=crop.one_of("padding", "reflect101"),
                resize=crop.one_of("resize", "halve-linear"),
                min_face_px=crop.integer("min_face_px", 1, 4096),
            ),
            locator=LocatorSpec(
                file=locator.text("file"),
                format=locator.one_of("format", "yunet"),
                score_threshold=locator.number("score_threshold", 0.01, 0.99),
                nms_threshold=locator.number("nms_threshold", 0.01, 1),
                max_side=locator.integer("max_side", 32, 8192),
                min_scale=locator.optional_number("min_scale", 0.001, 1),
                int8=locator.optional_text("int8"),
            ),
            classifier=_classifier(top.object("classifier")),
            calibration=point.calibration,
            thresholds=point.thresholds,
            gates=_gates(top),
            golden=top.text("golden"),
            card=top.text("card"),
            weights_license=top.optional_text("weights_license"),
            files=_files(top.object("files")),
            parity=top.free_form("parity"),
            metrics=top.free_form("metrics"),
            provenance=top.free_form("provenance"),
            operating_points=_points(top),
            variants=top.free_form("variants"),
            int8_weight_bits=(
                top.integer("int8_weight_bits", 2, _ALL_BITS)
                if "int8_weight_bits" in top.values
                else _ALL_BITS
            ),
        )
        manifest._check_references()
        return manifest

    def operating_point(self, precision: str = "fp32") -> OperatingPoint:
        """Return the calibration and the thresholds of the classifier of a precision."""
        return self.operating_points.get(precision) or OperatingPoint(self.calibration, self.thresholds)

    def _check_references(self) -> None:
        references = {f"classifier.{key}": name for key, name in self.classifier.items()}
        references |= {"locator.file": self.locator.file, "golden": self.golden, "card": self.card}
        if self.locator.int8 is not None:
            references["locator.int8"] = self.locator.int8
        if self.weights_license is not None:
            references["weights_license"] = self.weights_license
        for field, name in references.items():
            if name not in self.files:
                raise BundleError(f"{MANIFEST_NAME}: {field} names {show(name)}, which files doesn't list")
        for precision in self.operating_points:
            if precision not in self.classifier:
                raise BundleError(
                    f"{MANIFEST_NAME}: {step('operating_points', precision)} has no classifier; "
                    f"classifier lists {', '.join(self.classifier)}"
                )


def lowest_version(document: Mapping[str, Any]) -> str:
    """Return the format version that a manifest with these fields has to be written as."""
    locator = document.get("locator")
    if isinstance(locator, Mapping) and locator.get("int8") is not None:
        return "1.4"
    if isinstance(locator, Mapping) and locator.get("min_scale") is not None:
        return "1.3"
    if "int8_weight_bits" in document:
        return "1.2"
    more = len(document.get("classifier") or ()) > 1
    return "1.1" if more or any(document.get(key) for key in _SINCE_1_1) else VERSION


def _version(document: dict[str, Any]) -> str:
    if document.get("format") != FORMAT:
        raise BundleError(f'{MANIFEST_NAME}: format must be "{FORMAT}", not {show(document.get("format"))}')
    version = document.get("version")
    match = _SEMVER.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise BundleError(f'{MANIFEST_NAME}: version must be "major.minor", not {show(version)}')
    if int(match[1]) != int(VERSION.partition(".")[0]):
        raise BundleError(
            f"{MANIFEST_NAME}: version is {match[0]}, this release reads 1.x; "
            "install the fauxface that wrote it"
        )
    return match[0]


def _created(top: Fields) -> str:
    created = top.matching("created", _TIME, _A_TIME)
    try:
        datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise top.wrong("created", _A_TIME) from None
    return created


def _point(fields: Fields) -> OperatingPoint:
    calibration, thresholds = fields.object("calibration"), fields.object("thresholds")
    lower = thresholds.number("bona_fide_below", 0, 1)
    return OperatingPoint(
        Calibration(
            temperature=calibration.number("temperature", 0.001, 1000),
            bias=calibration.number("bias", -1000, 1000),
            fitted_on=calibration.optional_text("fitted_on", 1000) or "",
        ),
        Thresholds(
            bona_fide_below=lower,
            generated_from=thresholds.number("generated_from", lower, 1),
            rule=thresholds.optional_text("rule", 1000) or "",
        ),
    )


def _points(top: Fields) -> Mapping[str, OperatingPoint]:
    listed = top.object("operating_points") if "operating_points" in top.values else Fields({}, "")
    return MappingProxyType({name: _point(listed.object(name)) for name in listed.values})


def _classifier(listed: Fields) -> Mapping[str, str]:
    listed.text("fp32")
    return MappingProxyType({key: listed.text(key) for key in listed.values})


def _gates(top: Fields) -> Gates:
    if "gates" not in top.values:
        return Gates()
    listed = top.object("gates")
    return Gates(
        min_sharpness=listed.optional_number("min_sharpness", 0, 1e6),
        max_yaw=listed.optional_number("max_yaw", 1, 90),
        max_roll=listed.optional_number("max_roll", 1, 180),
    )


def _files(listed: Fields) -> Mapping[str, FileEntry]:
    if not 0 < len(listed.values) <= MAX_FILES:
        raise BundleError(f"{MANIFEST_NAME}: files must list 1 to {MAX_FILES} files")
    result: dict[str, FileEntry] = {}
    for name in listed.values:
        if not is_safe_name(name):
            raise BundleError(
                f"{MANIFEST_NAME}: files names {show(name)}; use plain names, or one folder and a plain name"
            )
        entry = listed.object(name)
        result[name] = FileEntry(
            sha256=entry.matching("sha256", _SHA256, "64 lower-case hexadecimal digits"),
            bytes=entry.integer("bytes", 0, MAX_FILE_BYTES),
        )
    if sum(entry.bytes for entry in result.values()) > MAX_BUNDLE_BYTES:
        raise BundleError(
            f"{MANIFEST_NAME}: files hold more than {MAX_BUNDLE_BYTES} bytes in all; list fewer"
        )
    if len({name.casefold() for name in result}) < len(result):
        raise BundleError(f"{MANIFEST_NAME}: files lists two names that differ only in case; rename one")
    return MappingProxyType(result)


def is_safe_name(name: str) -> bool:
    """Return whether a file of a bundle may have this name: at most one folder deep, not bundle.json."""
    return _NAME.fullmatch(name) is not None and name.casefold() != MANIFEST_NAME
