import pytest
from hypothesis import given
from hypothesis import strategies as st

from fauxface_train.utkface import Demographics, parse_utkface

UTK = "25_0_2_20170104020210475.jpg.chip.jpg"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (UTK, Demographics(25, "male", "asian")),
        ("100_1_4_20170105174847679.jpg", Demographics(100, "female", "other")),
        ("61_1_20170109142408075.jpg.chip.jpg", Demographics(61, None, None)),
        ("61_3_20170109150557335.jpg.chip.jpg", Demographics(61, None, "indian")),
        ("53__0_20170116184028385.jpg", Demographics(53, None, "white")),
        ("24_0_1_20170116220224657 .jpg.chip.jpg", Demographics(24, "male", "black")),
        ("55_0_0_20170116232725357jpg.chip.jpg", Demographics(55, "male", "white")),
        ("44_1_4_20170116235150272.pg.chip.jpg", Demographics(44, "female", "other")),
        ("20_5_7_20170116235150272.jpg", Demographics(20, None, None)),
        ("200_1_4_20170116235150272.jpg", None),
        ("000_20240131101000.jpg", None),
        ("7_20240131101112.jpg", None),
        ("1_2_3.jpg", None),
        ("portrait.jpg", None),
        ("", None),
    ],
)
def test_utkface_names(name: str, expected: Demographics | None):
    assert parse_utkface(name) == expected


@given(st.text() | st.from_regex(r"[0-9_]{1,12}_[0-9]{14,20}\.jpg", fullmatch=True))
def test_any_name_is_parsed_or_refused(name: str):
    known = parse_utkface(name)
    assert known is None or (known.age is not None and 0 <= known.age <= 120)
