"""What the file names of UTKFace tell of the person."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_UTKFACE = re.compile(
    r"(?P<fields>\d{1,3}(?:_\d?){1,2})_(?P<taken>\d{14,20})\s*\.?j?pe?g(?:\.chip\.jpe?g)?", re.I
)
_GENDERS = ("male", "female")
_RACES = ("white", "black", "asian", "indian", "other")
_MAX_AGE = 120


@dataclass(frozen=True, slots=True)
class Demographics:
    """What a UTKFace file name tells; None where it doesn't.

    Attributes:
        age: Age in years.
        gender: "male" or "female".
        race: "white", "black", "asian", "indian" or "other".
    """

    age: int | None = None
    gender: str | None = None
    race: str | None = None


def parse_utkface(name: str) -> Demographics | None:
    """Read age, gender and race from a UTKFace name: `[age]_[gender]_[race]_[date and time].jpg[.chip.jpg]`.

    A few names of the data set lack a field. An empty field is unknown; where gender or race is missing
    altogether, the one that remains counts as race if it can't be a gender, else both stay unknown.

    Args:
        name: File name without folders.

    Returns:
        The fields, or None where the name isn't of this form.
    """
    match = _UTKFACE.fullmatch(name)
    if match is None:
        return None
    age_text, *rest = match["fields"].split("_")
    age = int(age_text)
    if age > _MAX_AGE:
        return None
    gender = race = None
    if len(rest) == 2:
        gender = _pick(_GENDERS, rest[0])
        race = _pick(_RACES, rest[1])
    elif len(rest) == 1 and rest[0] and int(rest[0]) >= len(_GENDERS):
        race = _pick(_RACES, rest[0])
    return Demographics(age, gender, race)


def _pick(names: Sequence[str], digit: str) -> str | None:
    return names[int(digit)] if digit and int(digit) < len(names) else None
