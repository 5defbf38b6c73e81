"""What commands call to store files: ``python -m worker.native.store [--tree] PATH``.

Prints a JSON object on a line of its own: of a file its ``sha256`` and ``size``, of a tree
the same within ``tree``. As the last line of a native job it is the job's output.
"""

from __future__ import annotations

import argparse
import json
import sys

from protocol.tree_archive import TreeProblem
from worker.native.storing import CannotStore, MayNotStore, Store, from_variables


def main() -> int:
    """The exit status: 0, 1 if it is the job's fault, 75 (try again) if the farm's."""
    parser = argparse.ArgumentParser(prog="python -m worker.native.store")
    parser.add_argument("path")
    parser.add_argument("--tree", action="store_true", help="all files of the folder PATH")
    chosen = parser.parse_args()
    store = Store(from_variables(), lambda text: print(text, file=sys.stderr))
    try:
        found = store.tree(chosen.path) if chosen.tree else store.file(chosen.path)
    except (MayNotStore, TreeProblem, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except CannotStore as error:
        print(error, file=sys.stderr)
        return 75
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
