"""Worker processes that make batches."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

pytest.importorskip("torch")

from fauxface_train.loading import batches


class Numbers:
    """In place of Views: a picture of nothing, with its index as the label."""

    def __getitem__(self, key):
        return np.zeros((1, 1, 3), np.uint8), key[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_main_process(number):
    found = batches(Numbers(), [[(i, i)] for i in range(40)], workers=1)
    labels = []
    for _, label in found:
        if not labels:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, number)
        labels.append(int(label))
    assert labels == list(range(40))
    worker.join(10)
    assert worker.exitcode == 0
