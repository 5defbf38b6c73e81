"""How fast a farm tells its status: ``python -m benchmarks status [--json] [--only PART]``.

A real master on a PostgreSQL of the run's own; clients are processes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import parts
from benchmarks.peers import buildbot
from benchmarks.status_parts import (
    dashboard,
    fan_out,
    lists,
    pages,
    peers,
    under_reading,
)

PARTS = (
    *lists.PARTS,
    pages.PART,
    dashboard.PART,
    fan_out.PART,
    under_reading.PART,
    peers.PART,
)


def run(arguments: Sequence[str]) -> int:
    """Measure, print, and give the exit status."""
    command = parts.command_line("status", str(__doc__), PARTS)
    buildbot.add_option(command)
    return parts.run(command.parse_args(arguments), PARTS)
