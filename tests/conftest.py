import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several test processes share the cores; set before any numerical library starts its threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
