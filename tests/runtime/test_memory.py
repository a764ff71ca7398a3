import cv2
import numpy as np
import pytest

from fauxface import memory
from fauxface.errors import ProviderError, VideoError
from memory_errors import SHORT, of_opencv


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_every_library_s_shortage_is_a_memory_error(error):
    with pytest.raises(MemoryError, match=str(error)[:9]), memory.told_alike():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        of_opencv(cv2.Error.StsBadArg),
        RuntimeError("bad shape"),
        ProviderError("the classifier failed: Failed to allocate memory; check the GPU's memory"),
        VideoError("bad_alloc.mp4: can't be opened; check the file"),
    ],
    ids=str,
)
def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, memory.told_alike():
        raise error
    assert caught.value is error


def test_opencv_says_by_its_code_that_it_has_no_memory():
    """On every machine: no address space holds this picture."""
    with pytest.raises(MemoryError), memory.told_alike():
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (2**25, 2**25))
