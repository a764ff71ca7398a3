"""Print a command of the README: the code block behind the marker `<!-- command: NAME -->`."""

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def command(name: str) -> str:
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"<!-- command: {re.escape(name)} -->\s*```(?:console|bash|sh)\n(.*?)```", text, re.S)
    if not found:
        raise SystemExit(f"README.md has no command named {name}")
    return found.group(1).strip()


if __name__ == "__main__":
    sys.stdout.write(command(sys.argv[1]) + "\n")
