"""Greets in the language asked for; exits with 1 if the phrase book lacks it."""

import json
import sys
from pathlib import Path


def main(book: str, language: str) -> int:
    """Print the phrase, or what is missing."""
    phrases = json.loads(Path(book).read_text(encoding="utf-8"))
    if language not in phrases:
        print(f"Nobody taught me {language}.")
        return 1
    print(phrases[language])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
