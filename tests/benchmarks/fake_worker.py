"""A worker whose answers are known, for the protocol's tests; imports the real `serve`."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks" / "workers"))

from serve import serve


class Fake:
    packages = ("pytest",)
    threads = 3

    def __init__(self, options):
        if options.get("broken"):
            raise RuntimeError("no such\nlibrary")
        self.cases = {}

    def prepare(self, case, spec):
        self.cases[case] = spec

    def run(self, case):
        spec = self.cases[case]
        print("libraries print")  # noqa: T201
        if spec.get("exit"):
            print("last words", file=sys.stderr)  # noqa: T201
            os._exit(3)
        time.sleep(spec.get("sleep", 0))
        return spec.get("value", 0)

    def units(self, outcome):
        return 2

    def answer(self, outcome):
        return {"value": outcome, "pythonpath": os.environ.get("PYTHONPATH")}


class Ticking(Fake):
    """Counts in a thread all the time, to see whether it is stopped between two requests."""

    def __init__(self, options):
        import threading

        super().__init__(options)
        self.ticks = 0
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self):
        while True:
            time.sleep(0.002)
            self.ticks += 1

    def answer(self, outcome):
        return self.ticks


if __name__ == "__main__":
    serve({"fake": Fake, "ticking": Ticking})
