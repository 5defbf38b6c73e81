"""What holds in every environment for files that other jobs handed over."""

from __future__ import annotations

import hashlib
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol.order import GitSource, HandedOver, KeptFile
from tests.worker.supervisor.attempts import order
from tests.worker.supervisor.blob_server import BlobServer
from worker.environments.interface import UNPRIVILEGED
from worker.supervisor import handing
from worker.supervisor.blobs import Blobs

if TYPE_CHECKING:
    from tests.worker.environments.conformance import EnvironmentCase as Case
else:
    Case = object

#: All that another job may call a file.
NAMES = (
    "plain",
    "deep/er/" + "d/" * 100 + "file",
    "two\nlines",
    "-rf",
    "$(touch evil); *",
    " ",
    "\\",
    "Case",
    "case",
    "n" * 255,
    "ü" * 127,
    "...",
)


class HandedFiles(Case):
    """Cases about the folders that ``CI_INPUT_<JOB>`` names."""

    def handed(self) -> Any:
        """An order with files of two jobs, and the folder that they were fetched into."""
        server = BlobServer(self)
        files = tuple(
            KeptFile(path=name, sha256=server.keep(name.encode()), size=len(name.encode()))
            for name in NAMES
        )
        asked = order(
            GitSource(repository="/r", commit="a" * 40),
            [],
            handed=(HandedOver(job="copr-build", files=files), HandedOver(job="empty")),
        )
        folder = self.base / "attempt"
        folder.mkdir()
        blobs = Blobs(server.url, server.artifacts.token, self.said.append, patience=5)
        # As of a daemon that keeps all to itself.
        before = os.umask(0o077)
        try:
            fetched = handing.fetch(asked, blobs, folder)
        finally:
            os.umask(before)
        return asked, fetched

    @property
    def owners(self) -> tuple[str | None, ...]:
        """Who runs commands; natively another account could not enter the test's folder."""
        is_native = self.environment.root == Path("/")
        return (None,) if is_native else (None, UNPRIVILEGED)

    def sums(self, asked: Any, user: str | None) -> dict[str, str]:
        """What a command of ``user`` finds in the folder of ``copr-build``."""
        text = self.output(
            'cd "$CI_INPUT_COPR_BUILD" && find . -type f -exec sha256sum -z -- {} +',
            user,
            **handing.variables(asked, self.environment),
        )
        lines = [line.partition("  ./") for line in text.split("\0") if line]
        return {name: digest for digest, _, name in lines}

    expected = {name: hashlib.sha256(name.encode()).hexdigest() for name in NAMES}

    def test_handed_files_are_where_the_variable_says(self) -> None:
        """Whatever they are called, and whoever runs the commands."""
        asked, fetched = self.handed()
        for owner in self.owners:
            for reader in self.owners:
                self.environment.begin()
                handing.put_in(self.environment, fetched, asked, owner)
                self.assertEqual(self.sums(asked, reader), self.expected)
                self.environment.end()

    def test_a_job_that_made_nothing_has_an_empty_folder(self) -> None:
        asked, fetched = self.handed()
        self.environment.begin()
        handing.put_in(self.environment, fetched, asked, None)
        given = handing.variables(asked, self.environment)
        self.assertEqual(sorted(given), ["CI_INPUT_COPR_BUILD", "CI_INPUT_EMPTY"])
        text = self.output('cd "$CI_INPUT_EMPTY" && ls -A && echo there', **given)
        self.assertEqual(text, "there\n")

    def test_what_a_job_does_to_its_copy_is_its_own_affair(self) -> None:
        """The files that were fetched, and the copies of other jobs, stay as they are."""
        asked, fetched = self.handed()
        before = sorted(os.walk(fetched))
        script = (
            'cd "$CI_INPUT_COPR_BUILD" && echo bad > plain && rm -r deep ./-rf '
            "&& mv case Case && ln -s /etc evil && mkdir new && cat plain && "
            'rm -r "$CI_INPUT_EMPTY" && ls -d ../empty'
        )
        for owner in self.owners:
            self.environment.begin()
            handing.put_in(self.environment, fetched, asked, owner)
            given = handing.variables(asked, self.environment)
            text = self.output(script, owner, **given)
            self.assertRegex(text, r"^bad\nls: .*\n$")
            self.environment.end()
            self.assertEqual(sorted(os.walk(fetched)), before)
            plain = fetched / "copr_build" / "plain"
            self.assertEqual(plain.read_bytes(), b"plain")
            self.environment.begin()
            handing.put_in(self.environment, fetched, asked, owner)
            self.assertEqual(self.sums(asked, owner), self.expected)
            self.environment.end()

    def test_handed_files_are_not_for_a_later_job_unless_it_is_the_same(self) -> None:
        asked, fetched = self.handed()
        self.environment.begin()
        handing.put_in(self.environment, fetched, asked, None)
        self.environment.end()
        self.environment.begin(again=True)
        self.assertEqual(self.sums(asked, None), self.expected)
        self.environment.end()
        self.environment.begin()
        place = self.environment.inputs
        self.assertEqual(self.output(f"ls -d '{place}' 2>/dev/null"), "")

    def test_handed_files_are_no_outputs(self) -> None:
        """Outputs lie in the project and beside it."""
        beside = posixpath.dirname(self.environment.project)
        self.assertFalse(f"{self.environment.inputs}/".startswith(f"{beside}/"))

    def test_handed_files_never_land_behind_a_link_of_an_earlier_job(self) -> None:
        asked, fetched = self.handed()
        target = self.base / "target"
        target.mkdir()
        place = self.environment.inputs
        self.environment.begin()
        self.output(f"rm -rf '{place}'; ln -s '{target}' '{place}'")
        self.environment.end()
        self.environment.begin()
        handing.put_in(self.environment, fetched, asked, None)
        self.assertEqual(list(target.iterdir()), [])
        self.assertEqual(self.sums(asked, None), self.expected)
