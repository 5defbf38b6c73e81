"""The command ``python -m benchmarks NAME [--json] ...``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def names() -> list[str]:
    """Every benchmark there is: the modules beside this one that have a ``run``.

    Found by their text, so that one that cannot be imported hides no other.
    """
    files = Path(__file__).parent.glob("*.py")
    return sorted(file.stem for file in files if "\ndef run(" in file.read_text("utf-8"))


def main(arguments: list[str]) -> int:
    """Run the benchmark that ``arguments`` begin with; its exit status."""
    name, *rest = arguments or [""]
    if name not in names():
        known = " | ".join(names())
        asked = name in ("-h", "--help")
        usage = f"usage: python -m benchmarks {{{known}}} [--json] [--help]"
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    status: int = importlib.import_module(f"benchmarks.{name}").run(rest)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
