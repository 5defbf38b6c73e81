"""The daemon as twistd starts it: when it cannot start it says why, and ends."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import yaml
from twisted.internet import utils
from twisted.trial.unittest import TestCase

from buildmaster.pidfile import PidFile
from tests.farm import environment, folder_for

_TWISTD = "from twisted.scripts.twistd import run; run()"


class StartTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = folder_for(self) / "data"
        self.folder.mkdir(mode=0o711)

    async def _start(self, text: str | None = None, **variables: str) -> tuple[int, str]:
        """How a daemon with these settings ended, and what it said about that."""
        settings = self.folder / "master.yaml"
        if text is None:
            listen = {"workers": "127.0.0.1:0", "http": "127.0.0.1:0"}
            text = yaml.safe_dump({"data": ".", "listen": listen})
        settings.write_text(text)
        log = self.folder / "log"
        arguments = ["-P", "-c", _TWISTD, "-n", "--pidfile=", f"--logfile={log}"]
        _, err, status = await utils.getProcessOutputAndValue(
            sys.executable,
            [*arguments, "buildmaster", "--config", str(settings)],
            env=environment(**variables),
            path="/",
        )
        return status, err.decode()

    async def test_without_postgresql_it_says_what_to_install(self) -> None:
        status, said = await self._start(HEADRACE_PG_BIN=str(self.folder))
        self.assertEqual(status, 1)
        self.assertTrue(said.startswith("buildmaster: "), said)
        self.assertIn("HEADRACE_PG_BIN", said)
        self.assertNotIn("Traceback", said)

    async def test_a_folder_that_another_one_uses_is_refused(self) -> None:
        other = PidFile(self.folder / "buildmaster.pid")
        other.take()
        self.addCleanup(other.give_up)
        status, said = await self._start()
        self.assertEqual(status, 1)
        self.assertIn(f"process {os.getpid()} already works in", said)

    async def test_a_port_that_is_taken_is_named(self) -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, said = await self._start(
            yaml.safe_dump({"data": ".", "listen": {"http": address}})
        )
        self.assertEqual(status, 1)
        self.assertIn(f"another program listens at {address}", said)

    async def test_wrong_settings_are_named(self) -> None:
        for text, named in (
            ("data: [", "is not YAML"),
            ("[]", "must be a mapping"),
            ("data: .\nisolaton: native\n", "isolaton"),
            ("data: .\nlisten: {http: nowhere}\n", "listen"),
            ("data: .\nworkers: {ant: {}}\n", "workers.ant"),
            ("data: .\nlisten: {workers: '0.0.0.0:1'}\n", "plain_text_off_loopback"),
            ("data: .\nlisten: {http: '[2001:db8::1]:1'}\n", "plain_text_off_loopback"),
            ("data: .\ntls: {certificate: c, key: k}\n", "the certificate "),
        ):
            status, said = await self._start(text)
            self.assertEqual(status, 1, said)
            self.assertIn(named, said)
            self.assertNotIn("Traceback", said)

    async def test_settings_that_are_missing_are_named(self) -> None:
        missing = Path(self.folder) / "no.yaml"
        _, err, status = await utils.getProcessOutputAndValue(
            sys.executable,
            ["-P", "-c", _TWISTD, "-n", "--pidfile=", "buildmaster", "-c", str(missing)],
            env=environment(),
            path="/",
        )
        self.assertEqual(status, 1)
        self.assertIn(str(missing), err.decode())
