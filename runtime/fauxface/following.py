"""Following faces between full searches: the locator sees only the surroundings of where each face was."""

import cv2

from fauxface.crops import Square, extract
from fauxface.locator import FaceLocator, Location, Locator
from fauxface.video import Frame

FULL_SEARCH_S = 1.0
"""Longest time in seconds between two full searches."""

GROWTH = 2.0
"""Side of the searched square over the longer side of the face's last box."""

REGION = 160
"""Side in pixels of the copy of a region that the network sees, whatever the face's size."""

_LARGEST_STEP = 0.5
_LARGEST_RATIO = 1.6
_SAME_FACE = 0.4
_LONGEST_PAUSE = 16


class Follower:
    """Finds the faces of a video's frames: all of every k-th frame is searched, of others only known places.

    A region is a square around a face's last box, `GROWTH` times as large, scaled to `REGION` pixels. What is
    found in it is a detection like any other, with its own box, landmarks and score. A full search follows at
    once, in the same frame, where a face isn't found again near its last place and of about its last size,
    where two faces became one, where the frames' size changes, and where the regions together would cost as
    much as a full search (with a network of one input size, any face does). Where following fails again and
    again, as in a crowd, ever more frames are searched fully before the next attempt. A face that appears
    between two full searches is seen at the second one; that is all the policy loses, besides faces that
    stand still while the locator no longer finds them in a full frame.

    One follower serves one video. Not thread-safe.

    Args:
        locator: Finds the faces.
        every: A full search every so many frames; 1 searches each frame fully.

    Attributes:
        full, followed: Frames that were searched fully, and near the last boxes only.

    Raises:
        ValueError: `every` is below 1.
    """

    def __init__(self, locator: FaceLocator, every: int) -> None:
        check_every(every)
        self._locator, self._every = locator, every
        self._last: list[Location] = []
        self._size = (0, 0)
        self._since, self._full_at_s = every, 0.0
        self._pause = self._next_pause = 0
        self.full = self.followed = 0

    def locate(self, frame: Frame) -> list[Location]:
        """Return the faces of the next frame, largest first, in its pixels."""
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        due = self._since >= self._every or not 0 <= frame.time_s - self._full_at_s < FULL_SEARCH_S
        found = None
        if self._pause > 0:
            self._pause -= 1
        elif not (due or size != self._size or self._is_dear(size)):
            found = self._follow(frame)
            if found is None:
                self._pause, self._next_pause = (
                    self._next_pause,
                    min(2 * self._next_pause + 2, _LONGEST_PAUSE),
                )
            else:
                self._next_pause = 0
        if found is None:
            found = locate_frame(self._locator, frame)
            self._since, self._full_at_s, self._size = 0, frame.time_s, size
            self.full += 1
        else:
            self.followed += 1
        self._since += 1
        self._last = found
        return found

    def _is_dear(self, size: tuple[int, int]) -> bool:
        """Tell whether the regions take as many pixels through the network as a full search."""
        if not isinstance(self._locator, Locator):
            return len(self._last) * REGION**2 >= size[0] * size[1]
        return len(self._last) * self._locator.pixels(REGION, REGION) >= self._locator.pixels(*size)

    def _follow(self, frame: Frame) -> list[Location] | None:
        """Return where the last faces are now; None where one of them was lost."""
        found: list[Location] = []
        for last in self._last:
            now = self._search_near(frame, last)
            if now is None or any(_overlap(now, other) > _SAME_FACE for other in found):
                return None
            found.append(now)
        return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)

    def _search_near(self, frame: Frame, last: Location) -> Location | None:
        middle, face_side = _middle(last), max(last.box[2:])
        side = max(2, round(GROWTH * face_side))
        square = Square(round(middle[0] - side / 2), round(middle[1] - side / 2), side)
        small = cv2.resize(extract(frame.pixels, square), (REGION, REGION), interpolation=cv2.INTER_LINEAR)
        candidates = [
            _placed(face, square, side / REGION)
            for face in locate_frame(self._locator, Frame(frame.index, frame.time_s, small, frame.order))
        ]
        near = [
            face
            for face in candidates
            if _is_whole(face, square, self._size)
            and _distance(middle, _middle(face)) <= _LARGEST_STEP * face_side
            and 1 / _LARGEST_RATIO <= max(face.box[2:]) / face_side <= _LARGEST_RATIO
        ]
        return min(near, key=lambda face: _distance(middle, _middle(face)), default=None)


def check_every(every: int) -> None:
    """Raise ValueError unless a full search can happen every so many frames."""
    if every < 1:
        raise ValueError(f"locate_every must be at least 1, not {every}")


def locate_frame(locator: FaceLocator, frame: Frame) -> list[Location]:
    """Find the faces of a whole frame; it is converted to RGB only for locators other than ours."""
    if isinstance(locator, Locator):
        return locator.locate(frame.pixels, bgr=frame.order == "BGR")
    return locator.locate(frame.image)


def _placed(face: Location, square: Square, scale: float) -> Location:
    """Return a face found in a region in pixels of the frame."""
    x, y, w, h = face.box
    landmarks = tuple((square.x + scale * px, square.y + scale * py) for px, py in face.landmarks)
    box = (square.x + scale * x, square.y + scale * y, scale * w, scale * h)
    return Location(box, landmarks, face.score)


def _is_whole(face: Location, square: Square, size: tuple[int, int]) -> bool:
    """Tell whether a face is neither cut off by its region nor the mirror image of one at the border."""
    (x, y, w, h), middle = face.box, _middle(face)
    inside = (
        square.x < x and square.y < y and x + w < square.x + square.side and y + h < square.y + square.side
    )
    return inside and 0 <= middle[0] < size[0] and 0 <= middle[1] < size[1]


def _middle(face: Location) -> tuple[float, float]:
    x, y, w, h = face.box
    return x + w / 2, y + h / 2


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def _overlap(one: Location, other: Location) -> float:
    """Return the intersection over union of two boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = one.box, other.box
    wide = max(0.0, min(ax + aw, bx + bw) - max(ax, bx))
    high = max(0.0, min(ay + ah, by + bh) - max(ay, by))
    return wide * high / max(aw * ah + bw * bh - wide * high, 1e-9)
