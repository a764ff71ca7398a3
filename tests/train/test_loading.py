"""Worker processes that make batches."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

pytest.importorskip("torch")

from fauxface_train.loading import batches


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_main_process(number):
    # In place of Views, something that a new process can load: pictures of nothing, each with its number.
    views = {(i, i): (np.zeros((1, 1, 3), np.uint8), i) for i in range(40)}
    found = batches(views, [[key] for key in views], workers=1)
    labels = []
    for _, label in found:
        if not labels:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, number)
        labels.append(int(label))
    assert labels == list(range(40))
    worker.join(10)
    assert worker.exitcode == 0
