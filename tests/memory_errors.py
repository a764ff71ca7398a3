"""What numpy, OpenCV and ONNX Runtime raise for a shortage of memory."""

import cv2


def of_opencv(code):
    error = cv2.error("OpenCV: it failed")
    error.code = code
    return error


SHORT = [
    MemoryError("numpy"),
    of_opencv(cv2.Error.StsNoMem),
    RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 90000000"),
    RuntimeError("Non-zero status code returned while running Conv node: std::bad_alloc"),
]
