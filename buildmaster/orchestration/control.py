"""What others do to workflows: start them, send signals, ask, cancel."""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

import msgspec

from buildmaster.database import Cursor, Database
from buildmaster.orchestration.classes import UnknownClass, WorkflowClasses
from buildmaster.orchestration.threads import Threads, TookTooLong
from buildmaster.requests import Refusal
from buildmaster.store import workflows as store
from buildmaster.store.workflows import Found
from buildmaster.workflow.definition import Handler, checked_arguments
from buildmaster.workflow.execution import Execution
from buildmaster.workflow.failures import (
    BadPayload,
    BadWorkflow,
    Divergence,
    ReadOnly,
    Unexpected,
)
from buildmaster.workflow.history import Command, Ending, History, HistoryEvent
from buildmaster.workflow.naming import name_problem
from buildmaster.workflow.payload import plain

#: What becomes of a start whose name is taken.
OnDuplicate = Literal["join", "reject", "replace-after-close"]
#: Seconds that a query may take.
PATIENCE = 5.0


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that was asked for."""

    id: int
    name: str
    state: str
    joined: bool  #: it was there before


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that was sent, or a cancel."""

    id: int
    name: str
    state: str  #: "done": it is recorded, and changes nothing
    repeated: bool  #: it was sent before


class Control:
    """Each call is whole or nothing, and may be repeated. All raise `Refusal`."""

    def __init__(
        self, database: Database, classes: WorkflowClasses, threads: Threads
    ) -> None:
        self._database = database
        self.classes = classes
        self._threads = threads

    async def start(
        self,
        class_: str,
        arguments: Any,
        by: str,
        *,
        name: str | None = None,
        owner: str | None = None,
        execution_timeout: float | None = None,
        on_duplicate: OnDuplicate = "join",
    ) -> Started:
        """A workflow of that name; a new one, unless ``on_duplicate`` says otherwise.

        "join" answers with the one that is there, or was; "reject" refuses;
        "replace-after-close" begins a new one if the last has ended, and joins it else.
        """
        try:
            definition = self.classes.newest(class_)
        except UnknownClass as error:
            raise Refusal(422, "no_such_class", f"{error}.") from error
        given = _checked(definition.run, arguments)
        if name is not None and (problem := name_problem(name)) is not None:
            raise Refusal(422, "bad_name", f"A workflow cannot be named so: {problem}.")
        chosen = name or f"{definition.name}-{uuid4()}"

        async def work(cursor: Cursor) -> Started:
            return await self.start_within(
                cursor,
                class_,
                given,
                by,
                name=chosen,
                owner=owner,
                execution_timeout=execution_timeout,
                on_duplicate=on_duplicate,
            )

        return await self._database.transaction(work)

    async def start_within(
        self,
        cursor: Cursor,
        class_: str,
        given: Any,
        by: str,
        *,
        name: str,
        owner: str | None,
        execution_timeout: float | None,
        on_duplicate: OnDuplicate,
    ) -> Started:
        """The same as part of a transaction that does more."""
        definition = self.classes.newest(class_)
        known = await store.find(cursor, name)
        if known is not None:
            if on_duplicate == "reject":
                raise _taken(known)
            if on_duplicate == "join" or known.state != "done":
                return _joined(known)
        made = await store.start(
            cursor,
            name=name,
            class_=definition.name,
            version=definition.version,
            arguments=given,
            seed=uuid4().hex,
            by=by,
            owner=owner or by,
            timeout=execution_timeout,
        )
        if made is None:  # somebody else began one just now
            known = await self._existing(cursor, name)
            if on_duplicate == "reject":
                raise _taken(known)
            return _joined(known)
        return Started(id=made, name=name, state="open", joined=False)

    async def signal(
        self, workflow: str, signal: str, arguments: Any, by: str, id: str | None = None
    ) -> Sent:
        """Send a signal; one with the same ``id`` was the same, and is dealt with once.

        Arguments that the signal does not take are refused; a signal that the class does
        not know is recorded, and a warning logged: the next version may know it.
        """

        async def work(cursor: Cursor) -> Sent:
            found = await self._existing(cursor, workflow)
            given, key = self._signal(found, signal, arguments, id)
            is_new = await store.send(cursor, found.id, "signal", signal, given, key, by)
            return _sent(found, is_new)

        return await self._database.transaction(work)

    def _signal(
        self, found: Found, signal: str, arguments: Any, id: str | None
    ) -> tuple[Any, str]:
        given, key = _plain(arguments), f"id {id}" if id else f"once {uuid4()}"
        try:
            definition = self.classes.find(found.class_, found.version)
        except UnknownClass:
            return given, key
        handler = definition.signals.get(signal)
        if handler is None:
            return given, key
        given = _checked(handler, given)
        own = None if id else handler.dedupe_key(given)
        return given, key if own is None else f"key {own}"[:1000]

    async def cancel(self, workflow: str, by: str, why: str) -> Sent:
        """Ask a workflow to end; it cleans up first. Harmless when repeated."""

        async def work(cursor: Cursor) -> Sent:
            found = await self._existing(cursor, workflow)
            reason = f"cancelled by {by}" + (f": {why}" if why else "")
            is_new = await store.send(
                cursor, found.id, "cancel", None, _plain(reason), "cancel", by
            )
            return _sent(found, is_new)

        return await self._database.transaction(work)

    async def query(self, workflow: str, query: str, arguments: Any) -> Any:
        """What the workflow answers, as of its last step."""
        found = await self._existing(self._database, workflow)
        _check_kept(found)
        events, commands = await store.history(self._database, found.id, found.generation)
        given = _plain(arguments)

        def ask() -> Any:
            definition = self.classes.find(found.class_, found.version)
            execution = Execution(definition, found.name, found.generation)
            try:
                execution.replay(events, commands)
                return execution.query(query, given)
            finally:
                execution.close()

        try:
            return await self._threads.run(ask, PATIENCE)
        except BadPayload as error:
            raise Refusal(422, "bad_arguments", f"{error}.") from error
        except (ReadOnly, Divergence, Unexpected, TookTooLong) as error:
            raise Refusal(409, "query_failed", f"{error}.") from error
        except BadWorkflow as error:
            raise Refusal(404, "no_such_query", f"{error}.") from error
        except Exception as error:
            told = f"The query raised {type(error).__name__}: {error}."
            raise Refusal(409, "query_failed", told) from error

    async def history(self, workflow: str, generation: int | None = None) -> History:
        """One generation of a workflow, the last without ``generation``, whole."""
        found = await self._existing(self._database, workflow)
        chosen = generation or found.generation
        _check_kept(found)
        events, commands = await store.history(self._database, found.id, chosen)
        if not events and chosen < found.generation:
            raise _removed(f"Generation {chosen} of the history of workflow {found.name}")
        return History(
            workflow=found.name,
            class_=found.class_,
            version=found.version,
            generation=chosen,
            events=tuple(HistoryEvent(**_fields(each)) for each in events),
            commands=tuple(Command(**_fields(each)) for each in commands),
            ending=await self._ending(found, chosen),
        )

    async def _ending(self, found: Found, generation: int) -> Ending | None:
        if generation < found.generation:
            return Ending(result="continued")
        if found.state != "done":
            return None
        return Ending(result=found.result or "failure")  # type: ignore[arg-type]

    async def _existing(self, cursor: Cursor | Database, workflow: str) -> Found:
        found = await store.find(cursor, workflow)
        if found is None:
            raise Refusal(404, "not_found", f"There is no workflow {workflow}.")
        return found


def _check_kept(found: Found) -> None:
    if found.history_removed_at is not None:
        when = found.history_removed_at
        raise _removed(f"The history of workflow {found.name}", f" on {when}")


def _removed(what: str, when: str = "") -> Refusal:
    return Refusal(
        410,
        "history_removed",
        f"{what} was removed{when}: histories are kept for a time only"
        f" (workflow_history_age). How it ended stays.",
    )


def _taken(known: Found) -> Refusal:
    return Refusal(
        409,
        "name_taken",
        f"There is a workflow {known.name} already, number {known.id}, which is"
        f" {known.state}: take another name.",
    )


def _joined(known: Found) -> Started:
    return Started(id=known.id, name=known.name, state=known.state, joined=True)


def _sent(found: Found, is_new: bool) -> Sent:
    return Sent(id=found.id, name=found.name, state=found.state, repeated=not is_new)


def _checked(handler: Handler, arguments: Any) -> Any:
    try:
        return checked_arguments(handler, arguments)
    except BadPayload as error:
        raise Refusal(422, "bad_arguments", f"{error}.") from error


def _plain(value: Any) -> Any:
    try:
        return plain(value, "what was sent")
    except BadPayload as error:
        raise Refusal(422, "bad_arguments", f"{error}.") from error


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(struct)
