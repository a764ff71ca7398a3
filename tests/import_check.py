"""Import every module of the runtime and fail if a heavy package comes along.

With --absent, fail too if a heavy package could be imported at all: the environment must be the lean one.
"""

import importlib
import importlib.util
import pkgutil
import sys

HEAVY = ("torch", "torchvision", "onnx", "matplotlib")


def main() -> int:
    import fauxface

    names = [m.name for m in pkgutil.walk_packages(fauxface.__path__, "fauxface.")]
    if len(names) < 10:
        sys.stdout.write(f"only {len(names)} modules found; the check would prove nothing\n")
        return 1
    for name in names:
        importlib.import_module(name)
    ours = [m for m in sys.modules if m.split(".")[0] in ("fauxface_train", "fauxface_export")]
    loaded = [m for m in HEAVY if m in sys.modules] + ours
    present = [m for m in HEAVY if importlib.util.find_spec(m)] if "--absent" in sys.argv else []
    sys.stdout.write(f"{len(names)} modules imported; heavy ones loaded: {loaded}; installed: {present}\n")
    return 1 if loaded or present else 0


if __name__ == "__main__":
    raise SystemExit(main())
