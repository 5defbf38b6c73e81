"""What stands in the way of a job that has not started: the exact set. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from buildmaster.explanation.facts import JobFacts, LinkFacts, SemaphoreFacts
from buildmaster.explanation.picture import HoldRow
from buildmaster.explanation.standings import Standing, Suited, Workforce
from buildmaster.explanation.words import count, listed, moment

#: How the names of semaphores begin that stand for a concurrency group, or an owner's cap.
GROUP, CAP = "group:", "cap:"
#: Names of jobs and workers that a block lists.
_LISTED = 20


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that stands in the way."""

    kind: str  #: a word for programs
    sentence: str
    jobs: tuple[int, ...] = ()
    workers: tuple[str, ...] = ()
    semaphore: str | None = None
    until: str | None = None


def blocks(facts: JobFacts, workforce: Workforce) -> list[Block]:
    """All that stands in the way; nothing of a job that has started or is over."""
    match facts.state:
        case "parked":
            return [_parked(facts), *_never(facts, workforce)]
        case "waiting":
            return [
                *_edges(facts),
                *_delay(facts),
                *_never(facts, workforce),
            ]
        case "ready":
            return [
                *_holds(facts, workforce),
                *_semaphores(facts),
                *_of_workers(facts, workforce),
            ]
        case "assigned":
            return [_not_accepted(facts)]
    return []


def _parked(facts: JobFacts) -> Block:
    return Block(kind="parked", sentence=f"It is parked: {facts.parked_for}.")


def _edges(facts: JobFacts) -> list[Block]:
    found = []
    for edge in facts.edges:
        part = "" if edge.stage is None else f"stage {edge.stage + 1} of "
        sentence = f"It waits for {part}{edge.title}, which is {edge.state}"
        chain = _chain(edge.job, facts.chain)
        links = [link.title for link in chain]
        if chain and chain[-1].worker is not None:
            last = chain[-1]
            since = f" since {moment(last.since)}" if last.since else ""
            if len(chain) > 1:
                sentence += f"; what runs now is {last.title}"
                if len(chain) > 2:
                    sentence += f" (by way of {listed(links[1:-1])})"
            sentence += f" on {last.worker}{since}"
        elif len(chain) > 1:
            sentence += f"; that waits for {listed(links[1:])} ({chain[-1].state})"
        jobs = (edge.job, *(link.job for link in chain[1:]))
        found.append(Block(kind="edge", sentence=sentence + ".", jobs=jobs))
    more = facts.open_edges - len(facts.edges)
    if more > 0 and found:
        sentence = f"It waits for {count(more, 'further job')}."
        found.append(Block(kind="edge", sentence=sentence))
    return found


def _chain(first: int, links: Sequence[LinkFacts]) -> list[LinkFacts]:
    """From an upstream to the nearest that a worker has, else to the furthest."""
    by_id = {link.job: link for link in links}
    below: dict[int, list[LinkFacts]] = {}
    for link in links:
        below.setdefault(link.wanted_by, []).append(link)
    if first not in by_id:
        return []
    paths = [[by_id[first]]]
    seen = {first}
    longest = paths[0]
    while paths:
        path = paths.pop(0)
        if path[-1].worker is not None:
            return path
        longest = max(longest, path, key=len)
        for link in below.get(path[-1].job, []):
            if link.job not in seen:
                seen.add(link.job)
                paths.append([*path, link])
    return longest


def _delay(facts: JobFacts) -> list[Block]:
    if facts.not_before is None:
        return []
    sentence = f"It is not to start before {moment(facts.not_before)} UTC"
    if facts.attempt > 1 and facts.errors:
        sentence += (
            f": attempt {facts.attempt - 1} ended with an error"
            f" ({facts.last_reason or 'no reason was given'}), and the farm waits before"
            f" it tries again; {facts.errors} of {facts.error_limit} errors"
        )
    return [Block(kind="delay", sentence=sentence + ".", until=facts.not_before)]


def _holds(facts: JobFacts, workforce: Workforce) -> list[Block]:
    found = []
    needs = workforce.needs(facts.class_id)
    for hold in workforce.picture.holds:
        if hold.scope == "farm":
            what = "The whole farm is held"
        elif hold.scope == "architecture" and needs and hold.name == needs.architecture:
            what = f"Architecture {hold.name} is held"
        elif hold.scope == "project" and hold.name == facts.repository:
            what = f"Project {hold.name} is held"
        else:
            continue
        found.append(_hold(what, hold))
    return found


def _hold(what: str, hold: HoldRow) -> Block:
    until = f", until {moment(hold.until)} UTC" if hold.until else ""
    sentence = f"{what} by {hold.held_by}: {hold.reason}{until}."
    return Block(kind="hold", sentence=sentence, until=hold.until)


def _semaphores(facts: JobFacts) -> list[Block]:
    return [
        _semaphore(facts, one)
        for one in facts.semaphores
        if one.held >= one.capacity or one.name == facts.aside
    ]


def _semaphore(facts: JobFacts, one: SemaphoreFacts) -> Block:
    if one.name.startswith(GROUP):
        kind, what = "group", f"another job of its group {one.name.removeprefix(GROUP)} has"
        if one.held > 1:
            what = f"{one.held} other jobs of {one.name.removeprefix(GROUP)} have"
        what += " not ended"
    elif one.name.startswith(CAP):
        kind = "owner_cap"
        what = f"its owner {facts.owner} has {one.held} of {one.capacity} jobs at work"
        architecture = one.name.rpartition("/")[2]
        what += f" on {architecture}" if architecture else ""
    else:
        kind = "semaphore"
        what = f"the semaphore {one.name} is full ({one.held} of {one.capacity})"
    holders = [
        each.title + (f" on {each.worker}" if each.worker else "") for each in one.holders
    ]
    sentence = f"It waits because {what}"
    if holders:
        sentence += f"; it is held by {listed(holders)}"
    if facts.aside == one.name and one.before:
        sentence += f"; {count(one.before, 'job')} wait for it before this one"
    return Block(
        kind=kind,
        sentence=sentence + ".",
        semaphore=one.name,
        jobs=tuple(each.job for each in one.holders),
    )


def _never(facts: JobFacts, workforce: Workforce) -> list[Block]:
    never = workforce.never(facts.class_id)
    if never is None:
        return []
    return [Block(kind="no_worker", sentence=f"No worker can ever run it: {never}.")]


def _of_workers(facts: JobFacts, workforce: Workforce) -> list[Block]:
    never = _never(facts, workforce)
    needs = workforce.needs(facts.class_id)
    if never or needs is None:
        return never
    refused = {each.worker: each.reason for each in facts.refusals}
    standing: dict[Standing, list[Suited]] = {}
    for one in workforce.suited(facts.class_id, refused):
        standing.setdefault(one.standing, []).append(one)
    if Standing.FREE in standing:
        return []
    some = [_standing(each, standing[each]) for each in _SENTENCES if each in standing]
    if all(each in (Standing.OFF_DUTY, Standing.AWAY) for each in standing):
        sentence = "None of the workers that suit it takes work now."
        if needs.worker:
            sentence = f"Worker {needs.worker}, the only one it may run on, takes no work."
        some.insert(0, Block(kind="no_worker_on_duty", sentence=sentence))
    return some


#: In the order in which they are told; what follows "N workers that suit it".
_SENTENCES: Mapping[Standing, tuple[str, str]] = {
    Standing.FULL: ("busy", "busy"),
    Standing.QUARANTINED: ("quarantined", "in quarantine, one job at a time"),
    Standing.REFUSED: ("refused", "passed over for it"),
    Standing.OFF_DUTY: ("off_duty", "off duty"),
    Standing.AWAY: ("away", "away"),
}


def _standing(standing: Standing, workers: Sequence[Suited]) -> Block:
    kind, what = _SENTENCES[standing]
    names = tuple(one.name for one in workers)
    if len(workers) == 1:
        sentence = f"Worker {workers[0].name}, which suits it, {workers[0].words}."
    else:
        sentence = f"{len(workers)} workers that suit it are {what}: "
        if standing is Standing.FULL:
            sentence += f"{listed(names)}."
        else:
            sentence += f"{listed([f'{one.name} {one.words}' for one in workers])}."
    return Block(kind=kind, sentence=sentence, workers=names[:_LISTED])


def _not_accepted(facts: JobFacts) -> Block:
    lease = facts.lease
    if lease is None:
        return Block(kind="handing_over", sentence="It is being handed to a worker.")
    sentence = f"Worker {lease.worker} has it and has not accepted it yet."
    if lease.worker_state != "connected":
        sentence = f"It was given to worker {lease.worker}, which is {lease.worker_state}."
    return Block(kind="handing_over", sentence=sentence, workers=(lease.worker,))
