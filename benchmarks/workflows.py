"""Workflows: replay, steps, and what ten thousand cost that sleep.

Parts are in ``workflow_parts``; each says what it must show.
"""

from __future__ import annotations

from benchmarks import parts
from benchmarks.workflow_parts import peer, replaying, sleepers, steps

PARTS = (replaying.PART, steps.PART, sleepers.PART, peer.PART)


def run(arguments: list[str]) -> int:
    """Measure what the arguments ask for; the exit status."""
    parser = parts.command_line("workflows", __doc__ or "", PARTS)
    parser.add_argument(
        "--peers", action="store_true", help="dbos, too, on the same server"
    )
    return parts.run(parser.parse_args(arguments), PARTS)
