"""The queue: how fast it is, how little depth matters, and what others can do.

Parts are in ``queue_parts``; each says what it must show.
"""

from __future__ import annotations

from benchmarks import parts
from benchmarks.peers import buildbot
from benchmarks.queue_parts import (
    depth,
    drain,
    enqueue,
    graph,
    old_snapshot,
    peers,
    pickup,
    references,
    whole_path,
)

PARTS = (
    enqueue.PART,
    drain.PART,
    whole_path.PART,
    pickup.PART,
    depth.PART,
    graph.PART,
    references.PART,
    old_snapshot.PART,
    peers.PART,
)


def run(arguments: list[str]) -> int:
    """Measure what the arguments ask for; the exit status."""
    parser = parts.command_line("queue", __doc__ or "", PARTS)
    parser.add_argument(
        "--peers", action="store_true", help="other queues, too, on the same server"
    )
    buildbot.add_option(parser)
    return parts.run(parser.parse_args(arguments), PARTS)
