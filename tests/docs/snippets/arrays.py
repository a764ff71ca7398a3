from pathlib import Path

import cv2

from fauxface import Scanner, annotate, images

scanner = Scanner()
uploaded = images.decode(Path("portrait.jpg").read_bytes(), name="upload")  # RGB, upright
print(scanner.image(uploaded, "upload").faces)

camera = cv2.VideoCapture("clip.mp4")  # or 0, a camera's number
while (read := camera.read())[0]:
    result = scanner.image(read[1], "camera", bgr=True)  # OpenCV's order of channels
    print([face.label for face in result.faces])
    marked = annotate.draw(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), result)
