"""The manual: that what it says of the code is so."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import socket
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

import protocol
from buildmaster.cli.main import command_line
from buildmaster.config import MasterConfig, TLSFiles, WorkerEntry
from buildmaster.people.roles import RoleEntry
from buildmaster.people.settings import Oidc, People, Proxy
from protocol.conversation import ATTEMPT, SESSION
from tests.requirements import require
from worker.config import WorkerConfig

CHECKOUT = Path(__file__).resolve().parent.parent
DOCS = CHECKOUT / "docs"

#: A setting's head line: its name, and what it is if the file does not say.
SETTING = re.compile(r"^``([\w.]+)``(?: \((.*)\))?$", re.MULTILINE)
#: What a default is called that depends on the machine.
OF_MACHINE = {
    socket.gethostname(): "the host's name",
    os.cpu_count() or 1: "the number of processors",
}
LITERAL = re.compile(r"``(.+?)``|^[ ]{3,}(\S.*)$", re.MULTILINE)
COMMAND = re.compile(r"(?<![=\w])headrace ([a-z]+)(?![=\w])([^;#`]*)")
FILE = re.compile(
    r"``((?:benchmarks|buildmaster|worker|protocol|schema|tests|docs|examples|twisted)/(?!_build)[\w./-]*"
    r"|\.ci/run)``"
)


def pages() -> list[Path]:
    """Every page that people read."""
    return [CHECKOUT / "README.rst", *DOCS.glob("*.rst"), *DOCS.glob("decisions/*.rst")]


def literals(page: Path) -> Iterator[str]:
    """What a page shows as code: inline, or in an indented line."""
    for inline, line in LITERAL.findall(page.read_text("utf-8")):
        yield inline or line


class PagesTests(SynchronousTestCase):
    """What holds for every page."""

    def test_pages_are_short(self) -> None:
        """A page has less than 200 lines, the README less than 100.

        The glossary is looked things up in, not read.
        """
        limits = {"README.rst": 100, "glossary.rst": 400}
        for page in pages():
            limit = limits.get(page.name, 200)
            self.assertLess(len(page.read_text("utf-8").splitlines()), limit, page)

    def test_files_that_are_named_exist(self) -> None:
        """Whoever moves a file finds the pages that speak of it."""
        for page in pages():
            for name in FILE.findall(page.read_text("utf-8")):
                self.assertTrue((CHECKOUT / name).exists(), f"{page.name}: {name}")

    def test_commands_that_are_named_exist(self) -> None:
        """Commands and their options are those of the command line."""
        [subparsers] = [
            action
            for action in command_line()._actions
            if isinstance(action, argparse._SubParsersAction)
        ]
        seen = set()
        for page in pages():
            for literal in literals(page):
                for name, rest in COMMAND.findall(literal):
                    where = f"{page.name}: headrace {name}{rest}"
                    self.assertIn(name, subparsers.choices, where)
                    known = _help(subparsers.choices[name], rest)
                    for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
                        self.assertIn(option, known, where)
                    seen.add(name)
        self.assertLessEqual({"up", "run", "submit", "retry"}, seen)

    def test_targets_of_make_that_are_named_exist(self) -> None:
        """``make X`` is a target of the Makefile."""
        makefile = (CHECKOUT / "Makefile").read_text()
        seen = set()
        for page in pages():
            for literal in literals(page):
                for target in re.findall(r"^make ([a-z]+)", literal):
                    self.assertRegex(makefile, rf"(?m)^{target}:", page.name)
                    seen.add(target)
        self.assertLessEqual({"run", "test", "lint", "docs"}, seen)


def _help(parser: argparse.ArgumentParser, rest: str) -> str:
    """The help of a command, or of its own command that ``rest`` begins with."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            own = next(iter(rest.split()), "")
            return str(action.choices[own].format_help()) if own else parser.format_help()
    return parser.format_help()


class SettingsTests(SynchronousTestCase):
    """``docs/settings.rst`` against the two types that read the files."""

    maxDiff = None

    def setUp(self) -> None:
        text = (DOCS / "settings.rst").read_text("utf-8")
        _, self.master, rest = re.split(r"(?m)^The (?:buildmaster|worker): .*$", text)
        self.worker = rest.partition("\nVariables\n")[0]

    def test_every_key_of_the_master_is_there_with_its_default(self) -> None:
        written = dict(SETTING.findall(self.master))
        self.assertEqual(written, {**_keys(MasterConfig), **_entries()})

    def test_every_key_of_the_worker_is_there_with_its_default(self) -> None:
        self.assertEqual(dict(SETTING.findall(self.worker)), _keys(WorkerConfig))

    def test_every_key_about_people_is_there_with_its_default(self) -> None:
        written = dict(SETTING.findall((DOCS / "people.rst").read_text("utf-8")))
        wanted = {f"people.{key}": what for key, what in _keys(People).items()}
        for name, kind in (("proxy", Proxy), ("oidc", Oidc), ("roles", RoleEntry)):
            below = {f"people.{name}.{key}": what for key, what in _keys(kind).items()}
            wanted |= below
        self.assertEqual(written, wanted)

    def test_every_variable_is_there(self) -> None:
        """Those that a person sets; what the daemons tell each other so is their own."""
        text = (DOCS / "settings.rst").read_text("utf-8")
        for name in ("URL", "TOKEN", "TOKEN_FILE", "CA_FILE", "FINGERPRINT", "PG_BIN"):
            self.assertIn(f"``HEADRACE_{name}``", text)


def _entries() -> dict[str, str]:
    """The keys below ``workers.NAME`` and ``tls``."""
    workers = {f"workers.NAME.{key}": what for key, what in _keys(WorkerEntry).items()}
    return workers | {f"tls.{key}": what for key, what in _keys(TLSFiles).items()}


def _keys(config: type[Any]) -> dict[str, str]:
    """The keys of a settings file, with what the page must say of each."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(config):
        if isinstance(field.default, msgspec.Struct):
            found[field.name] = ""
            below = _keys(type(field.default))
            found |= {f"{field.name}.{key}": what for key, what in below.items()}
        elif field.required:
            found[field.encode_name] = "required"
        else:
            found[field.name] = f"default: {_shown(field)}"
    return found


def _shown(field: msgspec.structs.FieldInfo) -> str:
    made = field.default_factory is not msgspec.NODEFAULT
    value = field.default_factory() if made else field.default
    if field.name in ("name", "slots"):
        return OF_MACHINE[value]
    return f"``{value if isinstance(value, str) else _as_yaml(value)}``"


def _as_yaml(value: object) -> str:
    """As one would write it into the file."""
    return re.sub(r",(?=\S)", ", ", msgspec.json.encode(value).decode())


class DecisionsTests(SynchronousTestCase):
    """``docs/decisions``."""

    def setUp(self) -> None:
        self.files = sorted((DOCS / "decisions").glob("[0-9]*.rst"))

    def test_numbers_have_no_gaps(self) -> None:
        numbers = [int(file.name[:4]) for file in self.files]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_each_tells_context_decision_and_consequences(self) -> None:
        for file in self.files:
            lines = file.read_text("utf-8").splitlines()
            self.assertTrue(lines[0].startswith(f"{file.name[:4]}. "), file)
            heads = [a for a, b in pairwise(lines) if b[:3] == "---"]
            self.assertEqual(heads, ["Context", "Decision", "Consequences"], file)


class RulesTests(SynchronousTestCase):
    """The tables that are made of the code's, when the manual is built."""

    def setUp(self) -> None:
        found = importlib.util.find_spec("sphinx") is not None
        require(self, found, "sphinx, which makes the manual, is not installed")
        self.patch(sys, "path", [str(DOCS), *sys.path])
        self.rules = importlib.import_module("rules")

    def test_the_tables_of_the_conversation_are_whole(self) -> None:
        """Every entry is one cell."""
        for rows, table in (
            (self.rules.session_rows(), SESSION),
            (self.rules.attempt_rows(), ATTEMPT),
        ):
            cells = [cell for row in rows[1:] for cell in row[2:] if cell]
            self.assertEqual(sorted(cells), sorted(state.value for state in table.values()))

    def test_who_says_hello_is_the_worker(self) -> None:
        """A row in full, in place of many."""
        head, hello, *_ = self.rules.session_rows()
        self.assertEqual(
            list(zip(head, hello, strict=True)),
            [
                ("message", "``hello``"),
                ("said by", "worker"),
                ("``fresh``", "greeted"),
                ("``greeted``", ""),
                ("``open``", ""),
                ("``closed``", "closed"),
            ],
        )

    def test_the_truth_table_is_the_one_that_was_decided(self) -> None:
        """As it was agreed on before there was code: by class, not by result."""
        decided = {
            "GOOD": ["go", "go", "skip", "go"],
            "BAD": ["unrun", "go", "go", "go"],
            "VOID": ["unrun", "unrun", "unrun", "go"],
        }
        head, *rows = self.rules.edge_rows()
        self.assertEqual(head[2:], ["``good``", "``finished``", "``bad``", "``always``"])
        self.assertEqual(len(rows), 9)
        for row in rows:
            self.assertEqual(row[2:], decided[row[0]], row[1])

    def test_every_table_is_shown(self) -> None:
        shown = set()
        for page in pages():
            shown |= set(re.findall(r"^\.\. rule:: (\w+)$", page.read_text("utf-8"), re.M))
        self.assertEqual(shown, set(self.rules.TABLES))

    def test_a_drawing_in_a_docstring_stays_as_it_was_drawn(self) -> None:
        drawing = next(p for p in str(protocol.__doc__).split("\n\n") if p[:4] == "    ")
        self.assertIn(f"::\n\n{drawing}\n\n", self.rules.story(protocol.__doc__))
