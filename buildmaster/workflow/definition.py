"""What makes a class a workflow: its name and version, its ``run``, signals, queries."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from buildmaster.workflow.failures import BadPayload, BadWorkflow
from buildmaster.workflow.payload import plain, typed
from buildmaster.workflow.traps import problems_of

C = TypeVar("C", bound=type[Any])
F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}\Z")
_SIGNAL, _QUERY, _HOOK = "__signal__", "__query__", "__webhook__"
_WORKFLOW = "__workflow__"


@dataclass(frozen=True)
class Handler:
    """A method that others call: what it takes, and what it gives."""

    name: str
    method: str
    parameters: Mapping[str, Any]  #: the annotation of each
    required: int
    returns: Any = Any
    key: Callable[..., object] | None = (
        None  #: of a signal: by what repeated ones are known
    )

    def arguments(self, given: Any, skip: int = 0) -> list[Any]:
        """``given``, a list or a mapping, as the method takes it; `BadPayload`."""
        names = list(self.parameters)
        if isinstance(given, Mapping):
            unknown = [name for name in given if name not in names]
            count = max((names.index(n) + 1 for n in given if n in names), default=0)
            if unknown or any(
                name not in given for name in names[: max(count, self.required)]
            ):
                raise BadPayload(f"{self.name} takes {', '.join(names) or 'nothing'}")
            given = [given[name] for name in names[:count]]
        if not isinstance(given, list) or not self.required <= len(given) <= len(names):
            raise BadPayload(f"{self.name} takes {', '.join(names) or 'nothing'}")
        return [
            typed(value, self.parameters[name], f"{name} of {self.name}")
            for name, value in zip(names, given, strict=False)
        ]

    def dedupe_key(self, given: Any) -> str | None:
        """By what a repeated signal with these arguments is known; None: not at all."""
        if self.key is None:
            return None
        return f"{self.name} {self.key(*self.arguments(given))}"


@dataclass(frozen=True)
class Delivery:
    """What the mapping of a webhook makes of a message: one signal for one workflow."""

    workflow: str
    signal: str
    arguments: list[Any] = field(default_factory=list)
    id: str | None = None  #: of the message, where the sender repeats it


@dataclass(frozen=True)
class Definition:
    """A workflow class, as the engine sees it."""

    name: str
    version: int
    cls: type[Any]
    run: Handler
    signals: Mapping[str, Handler]
    queries: Mapping[str, Handler]
    webhooks: Mapping[str, Callable[[Any], Any]]

    @property
    def description(self) -> str:
        """The first line of its docstring."""
        return (self.cls.__doc__ or "").strip().partition("\n")[0]


def definition_of(cls: object) -> Definition:
    """What `workflow` found out about a class; `BadWorkflow` if it is none."""
    found = vars(cls).get(_WORKFLOW) if isinstance(cls, type) else None
    if not isinstance(found, Definition):
        raise BadWorkflow(f"{cls!r} is no workflow: put @workflow before the class")
    return found


@overload
def workflow(cls: C) -> C: ...
@overload
def workflow(*, name: str | None = None, version: int = 1) -> Callable[[C], C]: ...
def workflow(cls: Any = None, *, name: str | None = None, version: int = 1) -> Any:
    """Make a class with ``async def run(self, ctx, ...)`` a workflow.

    `BadWorkflow` says what it must not do, as far as that is seen in its source.
    """

    def decorate(cls: C) -> C:
        chosen = name or cls.__name__
        if not _NAME.match(chosen):
            raise BadWorkflow(f"a workflow cannot be named {chosen!r}")
        run = getattr(cls, "run", None)
        if run is None or not inspect.iscoroutinefunction(run):
            raise BadWorkflow(f"{cls.__name__} needs 'async def run(self, ctx, ...)'")
        problems = problems_of(cls)
        if problems:
            raise BadWorkflow("; ".join(problems))
        made = Definition(
            chosen,
            version,
            cls,
            _handler("run", run, skip=2),
            _marked(cls, _SIGNAL),
            _marked(cls, _QUERY),
            {
                getattr(each, _HOOK): each
                for each in (_unwrapped(e) for e in vars(cls).values())
                if hasattr(each, _HOOK)
            },
        )
        setattr(cls, _WORKFLOW, made)
        return cls

    return decorate if cls is None else decorate(cls)


@overload
def signal(method: F) -> F: ...
@overload
def signal(
    *, name: str | None = None, key: Callable[..., object] | None = None
) -> Callable[[F], F]: ...
def signal(
    method: Any = None,
    *,
    name: str | None = None,
    key: Callable[..., object] | None = None,
) -> Any:
    """Let the method be called from outside, each call once and in its order.

    It may be ``async``, and then runs beside ``run``. ``key`` makes, of its arguments, the
    text by which a repeated signal is known that brings no id.
    """

    def decorate(method: F) -> F:
        setattr(method, _SIGNAL, (name or method.__name__, key))
        return method

    return decorate if method is None else decorate(method)


def query(method: F) -> F:
    """Let the method be asked from outside; it changes nothing, and waits for nothing."""
    if inspect.iscoroutinefunction(method):
        raise BadWorkflow(f"the query {method.__name__} must not be async: it cannot wait")
    setattr(method, _QUERY, (method.__name__, None))
    return method


def webhook(name: str) -> Callable[[F], F]:
    """Let the static method make signals of the messages of a webhook of that name.

    It gets the JSON of a message, and returns `Delivery` objects, or None.
    """

    def decorate(function: F) -> F:
        setattr(_unwrapped(function), _HOOK, name)
        return function

    return decorate


def _unwrapped(member: Any) -> Any:
    return member.__func__ if isinstance(member, staticmethod) else member


def _marked(cls: type[Any], mark: str) -> dict[str, Handler]:
    found = {}
    for method in dir(cls):
        member = getattr(cls, method, None)
        if hasattr(member, mark):
            name, key = getattr(member, mark)
            found[name] = _handler(name, member, skip=1, key=key)
    return found


def _handler(
    name: str, function: Any, skip: int, key: Callable[..., object] | None = None
) -> Handler:
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    if any(each.kind not in (each.POSITIONAL_OR_KEYWORD,) for each in parameters):
        raise BadWorkflow(f"{name} takes plain parameters only, neither * nor **")
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        hints = {}  # names that only type checkers know
    return Handler(
        name,
        function.__name__,
        {each.name: hints.get(each.name, Any) for each in parameters},
        sum(1 for each in parameters if each.default is each.empty),
        hints.get("return", Any),
        key,
    )


def checked_arguments(handler: Handler, given: Any) -> Any:
    """``given`` as it is kept, if the handler can take it; `BadPayload`."""
    kept = plain(given, f"what {handler.name} is given")
    handler.arguments(kept)
    return kept
