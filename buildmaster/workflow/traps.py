"""Finds in a workflow's code what would give another answer at a replay.

Not all of it can be seen in the source; what slips through is found as a divergence.
"""

from __future__ import annotations

import ast
import builtins
import datetime
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from buildmaster.workflow.actions import is_local

_INSTEAD = {
    "time": "ctx.now() and ctx.sleep()",
    "random": "ctx.random",
    "secrets": "ctx.random, or a local action",
    "asyncio": "what the context has: ctx.gather(), ctx.first(), ctx.sleep()",
    "threading": "ctx.start()",
    "concurrent": "ctx.start()",
    "socket": "a local action",
    "subprocess": "a local action, or a job",
    "urllib": "a local action",
    "http": "a local action",
    "requests": "a local action",
    "treq": "a local action",
    "psycopg2": "a local action",
    "twisted": "what the context has",
}
_FUNCTIONS = {
    ("uuid", "uuid1"): "ctx.uuid()",
    ("uuid", "uuid4"): "ctx.uuid()",
    ("os", "urandom"): "ctx.random",
    ("os", "environ"): "an argument of the workflow",
    ("os", "getenv"): "an argument of the workflow",
    ("os", "getpid"): "ctx.uuid()",
    ("builtins", "open"): "a local action",
    ("builtins", "input"): "a signal",
    ("builtins", "id"): "a name of your own",
    ("builtins", "hash"): "hashlib",
}
_CLOCKS = {"now", "utcnow", "today"}


def problems_of(cls: type[Any]) -> list[str]:
    """Sentences on what the code of ``cls`` must not do; none where nothing is seen."""
    functions = [each for each in vars(cls).values() if isinstance(each, FunctionType)]
    found: list[str] = []
    seen: set[FunctionType] = set()
    while functions:
        function = functions.pop(0)
        if function in seen:
            continue
        seen.add(function)
        body = _body(function)
        if body is None:
            continue
        look = _Look(function, cls.__module__)
        look.visit(body)
        found += look.found
        functions += look.called
    return found


def _body(function: FunctionType) -> ast.AST | None:
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    ast.increment_lineno(tree, first - 1)
    return tree


class _Look(ast.NodeVisitor):
    def __init__(self, function: FunctionType, module: str) -> None:
        self.found: list[str] = []
        self.called: list[FunctionType] = []
        self._function = function
        self._module = module
        code = function.__code__
        self._own = {*code.co_varnames, *code.co_cellvars}

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._look_at(node)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._look_at(node)

    def visit_For(self, node: ast.For) -> None:
        self._order(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._order(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._order(node.value)
        self.generic_visit(node)

    def _order(self, node: ast.expr) -> None:
        is_set = isinstance(node, ast.Set | ast.SetComp)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            is_set = node.func.id in ("set", "frozenset")
        if is_set:
            self._tell(
                node, "the order of a set differs from process to process", "sorted(...)"
            )

    def _look_at(self, node: ast.expr) -> None:
        names = _dotted(node)
        if not names or names[0] in self._own:
            return
        at: Any = None
        for place, name in enumerate(names):
            before = at
            try:
                at = self._global(name) if place == 0 else getattr(at, name)
            except (AttributeError, KeyError):
                return
            if self._is_bad(node, before, name, at):
                return
        if isinstance(at, FunctionType) and at.__module__ == self._module:
            if not is_local(at):
                self.called.append(at)

    def _global(self, name: str) -> Any:
        names = self._function.__globals__
        return names[name] if name in names else getattr(builtins, name)

    def _is_bad(self, node: ast.expr, before: Any, name: str, at: Any) -> bool:
        if isinstance(before, type) and issubclass(before, datetime.date):
            if name in _CLOCKS:
                self._tell(node, f"{before.__name__}.{name}() tells the time", "ctx.now()")
                return True
        if isinstance(at, ModuleType):
            return False
        home = _home(before, at)
        word = getattr(at, "__name__", name)
        if (home, word) in _FUNCTIONS or (home, name) in _FUNCTIONS:
            instead = _FUNCTIONS.get((home, word)) or _FUNCTIONS[home, name]
            self._tell(node, f"{name} gives another answer", instead)
            return True
        # What is imported for an annotation or an except does nothing yet.
        is_harmless = isinstance(at, type) and (
            before is None or issubclass(at, BaseException)
        )
        if home in _INSTEAD and not is_harmless:
            self._tell(node, f"{home}.{word} gives another answer", _INSTEAD[home])
            return True
        return False

    def _tell(self, node: ast.expr, what: str, instead: str) -> None:
        where = f"{self._function.__code__.co_filename}:{node.lineno}"
        sentence = f"{where}: {what} at each replay: use {instead}"
        if sentence not in self.found:
            self.found.append(sentence)


def _home(before: Any, at: Any) -> str:
    """The topmost package that something is of."""
    if isinstance(before, ModuleType):
        home = before.__name__
    elif at is getattr(builtins, getattr(at, "__name__", ""), None):
        home = "builtins"
    else:
        owner = getattr(at, "__self__", None)
        is_bound = owner is not None and not isinstance(owner, ModuleType)
        home = str(getattr(type(owner) if is_bound else at, "__module__", "") or "")
    return home.partition(".")[0]


def _dotted(node: ast.expr) -> list[str]:
    names: list[str] = []
    for each in _chain(node):
        names.insert(0, each)
    return names


def _chain(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute):
        yield node.attr
        node = node.value
    yield node.id if isinstance(node, ast.Name) else "?"
