"""Pictures for the distillation: faces of known data over photographs, and everything that isn't a face.

Any picture has a valid target, since the teacher labels it; so the aim is variety, not realism.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from fauxface_train.locator.backdrops import Backdrops, shuffled, window
from fauxface_train.locator.degrade import degrade, relight
from fauxface_train.locator.pasting import angle, hide, paste, shrunk
from fauxface_train.locator.pictures import Pictures

_SMALLEST, _LARGE, _LARGEST = 11.0, 200.0, 380.0
_CROWD = 45


class Composer:
    """Makes pictures of one size, each a function of its seed alone.

    Args:
        faces: Pictures with one face each, roughly centred.
        backgrounds: Pictures without faces, or with few.
        size: Side of the pictures in pixels, a multiple of 32.
    """

    def __init__(self, faces: Pictures, backgrounds: Pictures, size: int = 320) -> None:
        self.faces, self.backdrops, self.size = faces, Backdrops(backgrounds, size, faces), size
        self._kinds: list[tuple[float, Callable[[np.random.Generator], np.ndarray]]] = [
            (0.25, self._scene),
            (0.15, self._crowd),
            (0.13, self._rows),
            (0.15, self._mosaic),
            (0.12, self.backdrops.make),
            (0.16, self._portrait),
            (0.04, self._shuffled),
        ]

    def make(self, seed: tuple[int, int]) -> np.ndarray:
        """Return a picture, uint8 [size, size, 3], BGR.

        Args:
            seed: Run seed and sample number.
        """
        rng = np.random.default_rng(seed)
        cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
        kind = rng.choice(len(self._kinds), p=[share for share, _ in self._kinds])
        return degrade(np.ascontiguousarray(self._kinds[kind][1](rng)), rng)

    def _paste(self, canvas: np.ndarray, x: float, y: float, width: float, rng: np.random.Generator) -> None:
        face = self.faces.pick(rng)
        paste(canvas, face, rng, centre=(x, y), face_width=width, backdrops=self.backdrops)

    def _scene(self, rng: np.random.Generator) -> np.ndarray:
        """Return a few faces of any size."""
        canvas = self.backdrops.make(rng)
        count = 1 + int(rng.geometric(0.35))
        largest = _LARGEST if rng.random() < 0.08 else _LARGE
        for width in sorted(np.exp(rng.uniform(math.log(_SMALLEST), math.log(largest), count)), reverse=True):
            x, y = rng.uniform(-0.03, 1.03, 2) * self.size
            self._paste(canvas, x, y, float(width), rng)
        return canvas

    def _crowd(self, rng: np.random.Generator) -> np.ndarray:
        """Return many faces of about one size, the nearer ones in front and larger."""
        canvas = self.backdrops.make(rng)
        middle = math.exp(rng.uniform(math.log(9), math.log(48)))
        room = int((self.size / (1.5 * middle)) ** 2)
        count = min(int(rng.integers(6, _CROWD + 1)), max(3, room))
        depth = float(rng.uniform(0, 1.2))
        for y in sorted(rng.uniform(0.02, 0.98, count)):
            width = middle * math.exp(rng.normal(0, 0.2) + depth * (y - 0.5))
            self._paste(canvas, float(rng.uniform(-0.02, 1.02)) * self.size, y * self.size, width, rng)
        return canvas

    def _rows(self, rng: np.random.Generator) -> np.ndarray:
        """Return rows of faces side by side, as on a group photograph, a stand or a video call."""
        canvas = self.backdrops.make(rng)
        width = math.exp(rng.uniform(math.log(10), math.log(60)))
        pitch = width * float(rng.uniform(1.2, 2.2))
        y, left = width * float(rng.uniform(0.6, 2.0)), _CROWD
        while y < self.size and left > 0:
            x = float(rng.uniform(0, pitch))
            while x < self.size + width / 2 and left > 0:
                jitter = rng.normal(0, 0.08, 3)
                if rng.random() < 0.92:
                    self._paste(
                        canvas, x + jitter[0] * pitch, y + jitter[1] * pitch, width * (1 + jitter[2]), rng
                    )
                    left -= 1
                x += pitch
            y += pitch * float(rng.uniform(1.0, 1.8))
            if rng.random() < 0.2:
                y += self.size * 0.2
        return canvas

    def _mosaic(self, rng: np.random.Generator) -> np.ndarray:
        """Return a grid of whole portraits, edge to edge or with gaps over a backdrop."""
        canvas = self.backdrops.make(rng)
        across, down = (2 + int(6.99 * v**1.2) for v in rng.random(2))
        gap = 0.0 if rng.random() < 0.4 else float(rng.uniform(0, 0.35))
        pitch_x, pitch_y = self.size / across, self.size / down
        if rng.random() < 0.85:  # keep the tiles' shape; else they are stretched
            pitch_y = pitch_x
            down = math.ceil(self.size / pitch_y)
        faces = float(rng.choice((1.0, 0.85, 0.6)))
        for row in range(down):
            for column in range(across):
                low = np.array([column * pitch_x, row * pitch_y]) + gap * rng.random(2) * (pitch_x, pitch_y)
                x0, y0 = (int(v) for v in low)
                x1, y1 = (
                    min(self.size, int(low[0] + pitch_x * (1 - gap))),
                    min(self.size, int(low[1] + pitch_y * (1 - gap))),
                )
                if x1 - x0 < 4 or y1 - y0 < 4 or rng.random() < 0.06:
                    continue
                if rng.random() < faces:
                    tile = cv2.resize(self.faces.pick(rng), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
                    tile = hide(tile, self.backdrops, rng) if rng.random() < 0.06 else tile
                    tile = relight(tile, rng, 0.7) if rng.random() < 0.3 else tile
                else:
                    tile = self.backdrops.patch(y1 - y0, x1 - x0, rng)
                canvas[y0:y1, x0:x1] = tile[:, ::-1] if rng.random() < 0.5 else tile
        return canvas

    def _portrait(self, rng: np.random.Generator) -> np.ndarray:
        """Return one ready crop as it is: full frame, zoomed, turned, padded or partly hidden."""
        face = self.faces.pick(rng)
        if rng.random() < 0.5:
            face = face[:, ::-1]
        if rng.random() < 0.15:
            face = hide(face, self.backdrops, rng)
        side = self.size * (
            1.0 if rng.random() < 0.25 else math.exp(rng.uniform(math.log(0.25), math.log(1.5)))
        )
        face, ratio = shrunk(face, side / max(face.shape[:2]), rng)
        middle = np.array([face.shape[1], face.shape[0]]) / 2
        turn = angle(rng) if rng.random() < 0.65 else 0.0
        matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), turn, ratio)
        matrix[:, 2] += self.size / 2 - middle
        if rng.random() < 0.7:
            slack = abs(self.size - side) / 2
            matrix[:, 2] += rng.uniform(-slack, slack, 2)
        borders = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
        border = borders[rng.choice(3, p=(0.6, 0.2, 0.2))]
        colour = (0, 0, 0) if rng.random() < 0.6 else tuple(int(v) for v in rng.integers(0, 256, 3))
        return cv2.warpAffine(
            face,
            matrix,
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderMode=border,
            borderValue=colour,
        )

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Return parts of a face without the face."""
        return shuffled(window(self.faces.pick(rng), self.size, rng), rng)
