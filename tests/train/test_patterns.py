import pytest

patterns = pytest.importorskip("fauxface_train.patterns")


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("cam1", {"cam1"}),
        ("cam?", {"cam1", "cam2"}),
        ("cam*", {"cam1", "cam2", "cam[12]"}),
        ("cam[12]", {"cam[12]"}),
        ("*]", {"cam[12]"}),
        ("CAM1", set()),
        ("", set()),
    ],
)
def test_brackets_stand_for_themselves(pattern, named):
    names = {"cam1", "cam2", "cam[12]", "phone"}
    assert {name for name in names if patterns.matches(name, ["never", pattern])} == named
