"""Turns lines of ``language = phrase`` into a JSON phrase book."""

import json
import sys
from pathlib import Path


def main(source: str, target: str) -> None:
    """Read ``source``, write ``target``, say what was found."""
    book = {}
    for line in Path(source).read_text(encoding="utf-8").splitlines():
        language, _, phrase = line.partition(" = ")
        book[language] = phrase
        print(f"  {language}: {phrase}", flush=True)
    Path(target).write_text(json.dumps(book, indent=2) + "\n", encoding="utf-8")
    print(f"{len(book)} phrases are in {target}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
