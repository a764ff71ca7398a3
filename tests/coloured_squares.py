"""Pictures of coloured squares and a locator that finds them, for the tests of the scanner."""

import cv2
import numpy as np

from fauxface.locator import Location

GRAY, PINK, RED = (128, 128, 128), (153, 128, 128), (255, 0, 0)


class Blobs:
    """A locator whose faces are the connected areas that aren't black."""

    def locate(self, image):
        _, _, stats, _ = cv2.connectedComponentsWithStats((image.max(axis=2) > 40).astype(np.uint8))
        found = []
        for x, y, w, h, _ in stats[1:].tolist():
            points = tuple((float(x), float(y)) for _ in range(5))
            found.append(Location((float(x), float(y), float(w), float(h)), points, 0.9))
        return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)


def scene(*colors, side=64):
    """A black picture with a square of each colour, from left to right."""
    image = np.zeros((side + 40, max(1, len(colors)) * (side + 40), 3), np.uint8)
    for i, color in enumerate(colors):
        x = 20 + i * (side + 40)
        image[20 : 20 + side, x : x + side] = color
    return image
