"""A Sphinx extension: shows rules of the code as tables, so that they cannot drift apart.

``.. rule:: NAME`` becomes the table that `TABLES` has under that name;
``.. story:: MODULE`` becomes the docstring of a module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from buildmaster.dependencies import Require, judge
from buildmaster.lifecycle import TRANSITIONS, JobEvent, JobState
from protocol.conversation import ATTEMPT, SESSION, AttemptState, SessionState
from protocol.results import BAD, GOOD, VOID, Result

#: The first row is the head.
Rows = Sequence[Sequence[str]]


def session_rows() -> Rows:
    """For each message and speaker: the session's next state, by its state now."""
    said = _in_order((role, message) for _, role, message in SESSION)
    return [
        ["message", "said by", *(_code(state) for state in SessionState)],
        *(
            [
                f"``{_tag(message)}``",
                role.value,
                *(_next(SESSION.get((state, role, message))) for state in SessionState),
            ]
            for role, message in sorted(said, key=lambda pair: _place(pair[1]))
        ),
    ]


def attempt_rows() -> Rows:
    """For each message about an attempt: the attempt's next state, by its state now."""
    said = _in_order(message for _, message in ATTEMPT)
    speakers = {message: role for _, role, message in SESSION if message in said}
    return [
        ["message", "said by", *(_code(state) for state in AttemptState)],
        *(
            [
                f"``{_tag(message)}``",
                speakers[message].value,
                *(_next(ATTEMPT.get((state, message))) for state in AttemptState),
            ]
            for message in sorted(said, key=_place)
        ),
    ]


def edge_rows() -> Rows:
    """What each kind of edge says, by how its upstream ended."""
    classes = {"GOOD": GOOD, "BAD": BAD, "VOID": VOID}
    return [
        ["class", "the upstream ended as", *(_code(require) for require in Require)],
        *(
            [name, _code(result), *(judge(require, result).value for require in Require)]
            for name, results in classes.items()
            for result in Result
            if result in results
        ),
    ]


def life_rows() -> Rows:
    """What may follow each state of a job, and what brings it about."""
    return [
        ["state", "event", "next state"],
        *(
            [_code(state), event.value, _code(following)]
            for state in JobState
            for event in JobEvent
            if (following := TRANSITIONS.get((state, event))) is not None
        ),
    ]


#: What ``.. rule::`` can show.
TABLES: Mapping[str, Callable[[], Rows]] = {
    "session": session_rows,
    "attempt": attempt_rows,
    "edge": edge_rows,
    "life": life_rows,
}


def list_table(rows: Rows) -> str:
    """``rows`` as the text of a list-table with one head row."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        for number, cell in enumerate(row):
            lines.append(f"   {'*' if number == 0 else ' '} - {cell}")
    return "\n".join(lines)


def story(docstring: str) -> str:
    """``docstring`` with its indented paragraphs, which are drawings, kept as they are."""
    paragraphs = []
    for paragraph in docstring.strip().split("\n\n"):
        drawn = paragraph.startswith("    ")
        paragraphs.append(f"::\n\n{paragraph}" if drawn else paragraph)
    return "\n\n".join(paragraphs)


class RuleTable(SphinxDirective):
    """``.. rule:: NAME``"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error(f"no rule {name!r}; there are {', '.join(TABLES)}")
        return self.parse_text_to_nodes(list_table(TABLES[name]()))


class Story(SphinxDirective):
    """``.. story:: MODULE``"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        return self.parse_text_to_nodes(story(module.__doc__ or ""))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("rule", RuleTable)
    app.add_directive("story", Story)
    # What is shown comes from outside the sources that Sphinx compares: read all anew.
    app.connect("env-get-outdated", lambda _, env, *changes: sorted(env.found_docs))
    return {"version": "1", "parallel_read_safe": True}


def _in_order(items: Any) -> list[Any]:
    return list(dict.fromkeys(items))


def _place(message: type) -> int:
    """Messages in the order in which the tables first name them."""
    return _in_order(each for _, _, each in SESSION).index(message)


def _tag(message: Any) -> str:
    return str(message.__struct_config__.tag)


def _code(member: Enum) -> str:
    return f"``{member.value}``"


def _next(state: Enum | None) -> str:
    return "" if state is None else state.value
