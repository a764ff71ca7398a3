import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

# The scripts import each other by bare names, as they do when they are run.
for folder in (BENCHMARKS, BENCHMARKS / "workers"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
