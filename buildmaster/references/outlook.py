"""What will become of a node, by what a farm knows of its key, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from buildmaster.references.expansion import Node
from buildmaster.references.keys import Keys
from buildmaster.references.listing import listed

if TYPE_CHECKING:  # a plan that asks no farm starts without its documents
    from buildmaster.status.keys import ComparedNode, Passed

Fate = Literal["reused", "skipped", "runs"]
#: What differs from an earlier node of the same name.
Input = Literal["environment", "image", "job", "source", "upstreams"]
_SHOWN = 5


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What will become of one node, if nothing else happens before."""

    fate: Fate
    sentence: str  #: with the reason
    job: int | None = None  #: whose result stands for its own, or that it differs from
    run: int | None = None
    passed_at: str | None = None
    differs: tuple[Input, ...] = ()
    upstreams: tuple[str, ...] = ()  #: those of what it builds upon that will run
    may_be_reused: bool = False  #: after all, if what it builds upon comes out the same


def outlook(
    node: Node,
    key: Keys,
    environment: str,
    paths: Sequence[str],
    ups: Sequence[str],
    passed: Passed | None,
    before: ComparedNode | None,
) -> Outlook:
    """The outlook of ``node``, of which the farm knows this.

    ``paths`` are its part of the source, none for all of it; ``ups`` those that it builds
    upon and that will run, by their titles.
    """
    if node.skipped:
        return Outlook(fate="skipped", sentence="not_top, a package depends on it")
    if node.job.reuse == "never":
        return Outlook(fate="runs", sentence="never reused")
    if passed is not None and passed.same_image and passed.stands:
        return _taken(node, passed)
    if passed is not None and passed.same_image:
        return Outlook(
            fate="runs",
            sentence=f"job {passed.job} of run {passed.run} is not the last that was"
            " published here",
            job=passed.job,
            run=passed.run,
        )
    told = _compared(environment, paths, ups, passed, before)
    if not key.is_late:
        return told
    # Its key is known when what it builds upon has ended.
    late = f"{told.sentence}; unless what it builds upon comes out the same"
    return msgspec.structs.replace(told, sentence=late, may_be_reused=True)


def _taken(node: Node, passed: Passed) -> Outlook:
    is_published = node.job.scope == "component"
    how = "unchanged since" if is_published else "from"
    return Outlook(
        fate="skipped" if is_published else "reused",
        sentence=f"{how} job {passed.job} of run {passed.run}, passed at"
        f" {passed.finished_at[:16].replace('T', ' ')} UTC",
        job=passed.job,
        run=passed.run,
        passed_at=passed.finished_at,
    )


def _compared(
    environment: str,
    paths: Sequence[str],
    ups: Sequence[str],
    passed: Passed | None,
    before: ComparedNode | None,
) -> Outlook:
    if passed is not None:
        return Outlook(
            fate="runs",
            sentence=f"job {passed.job} of run {passed.run} passed with its key, in an"
            f" image of {environment} that has been replaced since",
            job=passed.job,
            run=passed.run,
            differs=("image",),
        )
    if before is None:
        return Outlook(fate="runs", sentence="the farm knows no earlier one")
    if before.same_key:
        how = f"ended as {before.result}" if before.result else f"is {before.state}"
        return Outlook(
            fate="runs",
            sentence=f"job {before.job} of run {before.run} has its key, and {how}",
            job=before.job,
            run=before.run,
        )
    differs, words = _differences(environment, paths, ups, before)
    return Outlook(
        fate="runs",
        sentence=f"unlike job {before.job} of run {before.run}: {'; '.join(words)}",
        job=before.job,
        run=before.run,
        differs=tuple(differs),
        upstreams=tuple(ups) if "upstreams" in differs else (),
    )


def _differences(
    environment: str,
    paths: Sequence[str],
    ups: Sequence[str],
    before: ComparedNode,
) -> tuple[list[Input], list[str]]:
    differs: list[Input] = []
    words: list[str] = []
    if before.environment != environment:
        differs.append("environment")
        words.append(f"it ran in {before.environment}, this one in {environment}")
    elif not before.same_configuration:
        # Where it runs stands in the job's text, too.
        differs.append("job")
        words.append("the job says something else")
    elif not before.same_base:
        differs.append("source")
        part = listed(paths, _SHOWN) if paths else "which is all of it"
        words.append(f"its part of the source has changed, {part}")
    if ups or not differs:
        differs.append("upstreams")
        what = listed(ups, _SHOWN) if ups else "which is not what it was"
        words.append(f"it builds upon another result, {what}")
    return differs, words
