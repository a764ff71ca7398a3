import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fauxface.buckets import BUCKETS, BucketRunner
from fauxface.session import import_onnxruntime

MODEL = (Path(__file__).parents[1] / "data" / "tiny_bundle" / "classifier.onnx").read_bytes()


class Recording:
    """A session on the CPU that notes the batch, the addresses and the graph of every run."""

    def __init__(self):
        ort = import_onnxruntime()
        self.session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
        self.runs, self.threads = [], set()
        self.get_inputs, self.get_outputs = self.session.get_inputs, self.session.get_outputs

    def io_binding(self):
        binding = self.session.io_binding()
        bind_input, bind_output = binding.bind_ortvalue_input, binding.bind_ortvalue_output

        def bound_input(name, value):
            binding.batch, binding.address = value.shape()[0], value.data_ptr()
            bind_input(name, value)

        def bound_output(name, value):
            binding.result = value.data_ptr()
            bind_output(name, value)

        binding.bind_ortvalue_input, binding.bind_ortvalue_output = bound_input, bound_output
        return binding

    def run_with_iobinding(self, binding, options):
        try:
            entry = options.get_run_config_entry("gpu_graph_id")
        except RuntimeError:
            entry = None
        self.runs.append((binding.batch, binding.address, binding.result, entry))
        self.threads.add(threading.get_ident())
        self.session.run_with_iobinding(binding, options)


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (32, 128, 128, 3), dtype=np.uint8)


def test_every_batch_gives_what_a_plain_run_gives(crops):
    recording = Recording()
    runner = BucketRunner(import_onnxruntime(), recording, graphs=False, device="cpu")
    expected = recording.session.run(None, {"crops": crops})[0]
    for count in (32, 1, 2, 3, 5, 9, 31, 4):
        np.testing.assert_allclose(runner.run(crops[:count]), expected[:count], atol=1e-5)
    # Mirrored pictures have the same mean colour, which is all that this classifier sees.
    np.testing.assert_allclose(runner.run(crops[::-1, :, ::-1][:7]), expected[::-1][:7], atol=1e-5)


@pytest.mark.parametrize("graphs", [True, False])
def test_each_size_is_warmed_up_and_keeps_its_buffers_and_its_graph(graphs, crops):
    recording = Recording()
    runner = BucketRunner(import_onnxruntime(), recording, graphs=graphs, device="cpu")
    assert [run[0] for run in recording.runs] == [size for size in BUCKETS for _ in range(2)]
    warm = set(recording.runs)
    assert len(warm) == len(BUCKETS)
    assert len({run[3] for run in warm}) == (len(BUCKETS) if graphs else 1)
    recording.runs.clear()
    for count, size in ((1, 1), (3, 4), (4, 4), (17, 32), (32, 32)):
        runner.run(crops[:count])
        assert recording.runs[-1][0] == size
        assert recording.runs[-1] in warm


def test_results_are_not_overwritten_by_the_next_run(crops):
    runner = BucketRunner(import_onnxruntime(), Recording(), graphs=False, device="cpu")
    first = runner.run(crops[:1])
    kept = first.copy()
    runner.run(crops[1:2])
    np.testing.assert_array_equal(first, kept)


def test_callers_in_several_threads_share_one_thread_and_no_buffer(crops):
    recording = Recording()
    runner = BucketRunner(import_onnxruntime(), recording, graphs=True, device="cpu")
    expected = recording.session.run(None, {"crops": crops})[0]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: runner.run(crops[i : i + 3]), [i % 29 for i in range(60)]))
    for i, logits in enumerate(found):
        np.testing.assert_allclose(logits, expected[i % 29 : i % 29 + 3], atol=1e-5)
    assert len(recording.threads) == 1
    assert threading.get_ident() not in recording.threads
