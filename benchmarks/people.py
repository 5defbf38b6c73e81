"""What people cost a farm: ``python -m benchmarks people [--json] [--only PART]``.

Whether jobs wait while many log in, and what a cookie costs beside a token.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import parts
from benchmarks.people_parts import asking, storm

PARTS = (storm.PART, asking.PART)


def run(arguments: Sequence[str]) -> int:
    """Measure, print, and give the exit status."""
    command = parts.command_line("people", str(__doc__), PARTS)
    return parts.run(command.parse_args(arguments), PARTS)
