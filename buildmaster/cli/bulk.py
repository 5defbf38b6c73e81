"""Changes many jobs, batch by batch: what ``--where`` does for several commands."""

from __future__ import annotations

import argparse
from typing import Any

from buildmaster.cli.context import Context
from buildmaster.cli.problems import CommandFailed
from buildmaster.cli.table import print_json


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options with which a command means many jobs instead of one."""
    parser.add_argument(
        "--where",
        metavar="FILTER",
        help="all jobs that meet these conditions, as in state=ready,owner=ann,name~test-*;"
        " needs the scope admin",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="with --where: only say how many they are"
    )
    parser.add_argument("--json", action="store_true", help="with --where: print JSON")


def is_meant(arguments: argparse.Namespace) -> bool:
    """Whether many jobs are meant; refuses a mixture."""
    if (arguments.id is None) == (arguments.where is None):
        raise CommandFailed("Give the number of one job, or --where FILTER.")
    if arguments.dry_run and arguments.where is None:
        raise CommandFailed("--dry-run goes with --where only.")
    return arguments.where is not None


async def change(
    context: Context,
    act: str,
    arguments: argparse.Namespace,
    reason: str,
    *,
    score: int | None = None,
) -> int:
    """Go from batch to batch; 0 once all jobs were seen."""
    whole: dict[str, Any] = {"matched": 0, "changed": 0, "refused": {}, "jobs": []}
    after: int | None = 0
    while after is not None:
        body: dict[str, object] = {
            "act": act,
            "where": arguments.where,
            "reason": reason,
            "after": after,
            "dry_run": arguments.dry_run,
        }
        if score is not None:
            body["score"] = score
        told = await context.client().change("/api/v1/bulk", body)
        whole["matched"] += told["matched"]
        whole["changed"] += told["changed"]
        for why, number in told["refused"].items():
            whole["refused"][why] = whole["refused"].get(why, 0) + number
        whole["jobs"] = (whole["jobs"] + told["jobs"])[:20]
        after = told["next"]
    if arguments.json:
        print_json(context.console, [{"kind": act, "dry_run": arguments.dry_run, **whole}])
        return 0
    if arguments.dry_run:
        some = ", ".join(map(str, whole["jobs"]))
        some = f" ({some}{', ...' if whole['matched'] > len(whole['jobs']) else ''})"
        context.console.say(
            f"These are {whole['matched']} jobs{some if whole['jobs'] else ''};"
            " nothing was changed."
        )
        return 0
    context.console.say(f"{whole['changed']} of {whole['matched']} jobs were changed.")
    for why, number in sorted(whole["refused"].items()):
        context.console.say(f"  {number} were left as they are: {why.replace('_', ' ')}")
    return 0
