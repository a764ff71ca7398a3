"""What a scan says: dataclasses for faces, pictures and frames, and their JSON form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fauxface.crops import Box
from fauxface.errors import FauxfaceError

SCHEMA = "fauxface.result/1"
"""Identifier of the JSON form in docs/result.schema.json; its number changes when a reader would break."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """One face and its verdict.

    Attributes:
        box: x, y, width, height in pixels of the upright picture; it may reach beyond the picture. In
            whole-picture mode it is the central square that was judged.
        landmarks: Right eye, left eye, nose tip, right and left mouth corner (the person's own right), each
            x, y in pixels; empty in whole-picture mode.
        locator_score: The locator's confidence in [0, 1]; None in whole-picture mode.
        p_generated: Calibrated probability in [0, 1] that the face is generated.
        label: "bona_fide", "generated" or "unsure".
        reason: Why the label is "unsure", else None.
        face_px: Longer side of the box in whole pixels, rounded down.
    """

    box: Box
    landmarks: tuple[Point, ...]
    locator_score: float | None
    p_generated: float
    label: str
    reason: str | None
    face_px: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: pixels to 0.1, scores to 4 decimals, the probability to 6."""
        return {
            "box": [round(float(v), 1) for v in self.box],
            "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in self.landmarks],
            "locator_score": None if self.locator_score is None else round(float(self.locator_score), 4),
            "p_generated": round(float(self.p_generated), 6),
            "label": self.label,
            "reason": self.reason,
            "face_px": int(self.face_px),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Face":
        """Build a face from its JSON form.

        Raises:
            ValueError: A field is missing or of the wrong type.
        """
        try:
            x, y, w, h = (float(v) for v in data["box"])
            landmarks = tuple((float(px), float(py)) for px, py in data["landmarks"])
            score = data["locator_score"]
            return cls(
                box=(x, y, w, h),
                landmarks=landmarks,
                locator_score=None if score is None else float(score),
                p_generated=float(data["p_generated"]),
                label=_text(data["label"]),
                reason=None if data["reason"] is None else _text(data["reason"]),
                face_px=int(data["face_px"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a face of {SCHEMA}: {error!r}") from error


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why a picture, a frame or a video gave no verdict.

    Attributes:
        type: Name of the error's class, for example "ImageError".
        message: One line: what was wrong; what to do.
    """

    type: str
    message: str

    @classmethod
    def of(cls, error: FauxfaceError) -> "ItemError":
        """Describe a typed error."""
        return cls(type(error).__name__, str(error))


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in one picture or one frame.

    Attributes:
        source: Path as given or found, camera, URL, "-" for standard input, or "<array>".
        frame: Index of the frame from 0, None for a picture and for an error of a whole video.
        time_s: Position in the video in seconds, None where `frame` is.
        error: Why there is no verdict, or None. A picture without a face has a NoFaceError; a frame without
            one simply has no faces.
        faces: Largest first.
        model: sha256 of the bundle's manifest, which stands for every file of it; with a locator file or a
            `max_side` other than the bundle's, the sha256 over these too. A locator object doesn't change it.
    """

    source: str
    frame: int | None
    time_s: float | None
    error: ItemError | None
    faces: tuple[Face, ...]
    model: str

    @property
    def readable(self) -> bool:
        """Whether pixels could be read: true without an error, and where merely no face was found."""
        return self.error is None or self.error.type == "NoFaceError"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that docs/result.schema.json describes."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "frame": self.frame,
            "time_s": None if self.time_s is None else round(float(self.time_s), 3),
            "error": None if self.error is None else {"type": self.error.type, "message": self.error.message},
            "faces": [face.to_dict() for face in self.faces],
            "model": self.model,
        }

    def to_json_line(self) -> str:
        """Return one line of JSON without its line break; ASCII only, so that any file name survives.

        Raises:
            ValueError: A number isn't finite.
        """
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Result":
        """Build a result from its JSON form.

        Raises:
            ValueError: It isn't of this schema, or a field is missing or of the wrong type.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            raise ValueError(f"not a record of {SCHEMA}")
        try:
            frame, time_s, error = data["frame"], data["time_s"], data["error"]
            return cls(
                source=_text(data["source"]),
                frame=None if frame is None else int(frame),
                time_s=None if time_s is None else float(time_s),
                error=None if error is None else ItemError(_text(error["type"]), _text(error["message"])),
                faces=tuple(Face.from_dict(face) for face in data["faces"]),
                model=_text(data["model"]),
            )
        except (KeyError, TypeError, OverflowError) as problem:
            raise ValueError(f"not a record of {SCHEMA}: {problem!r}") from problem


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} isn't text")
    return value
