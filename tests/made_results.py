"""Results that no scan gave."""

from fauxface.results import Face, Result

MODEL, OTHER = "a" * 64, "b" * 64


def face(label="generated", p=0.97, whole=False, reason=None):
    points = () if whole else tuple((1.0, 1.0) for _ in range(5))
    return Face((1, 2, 50, 60), points, None if whole else 0.9, p, label, reason, 60)


def picture(source, *faces, error=None, model=MODEL):
    return Result(source, None, None, error, faces, model)


def frame(source, index, *faces, model=MODEL):
    return Result(source, index, index / 25, None, faces, model)
