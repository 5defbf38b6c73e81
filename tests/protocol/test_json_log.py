from __future__ import annotations

import io
import json
import sys

from twisted.internet import utils
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase, TestCase

from protocol.json_log import JsonLines
from tests.farm import environment, folder_for
from tests.versions import TWISTD


class JsonLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = io.StringIO()
        self.log = Logger("here", observer=JsonLines(self.file))

    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.file.getvalue().splitlines()]

    def test_each_event_is_one_line_whatever_is_in_it(self) -> None:
        self.log.warn("{text} came", text='a\n{"level": "x"}\x1b[31m\u2028\x85')
        [line] = self.lines()
        self.assertEqual((line["level"], line["from"]), ("warn", "here"))
        self.assertEqual(line["text"], 'a\n{"level": "x"}\x1b[31m\u2028\x85 came')
        self.assertTrue(self.file.getvalue().isascii())
        self.assertRegex(line["at"], r"^20\d\d-.*\+00:00$")

    def test_a_failure_brings_its_traceback(self) -> None:
        try:
            raise ValueError("why")
        except ValueError:
            self.log.failure("it broke")
        [line] = self.lines()
        self.assertEqual((line["level"], line["text"]), ("critical", "it broke"))
        self.assertIn("ValueError: why", line["traceback"])


class DaemonTests(TestCase):
    async def test_a_master_logs_in_json_if_asked(self) -> None:
        """One whose settings are wrong says so, and ends."""
        folder = folder_for(self)
        (folder / "master.yaml").write_text("data: .\ndatabase: dbname=x host=/nowhere\n")
        command = f"import sys; sys.argv[0] = 'twistd'; {TWISTD}"
        out, err, status = await utils.getProcessOutputAndValue(
            sys.executable,
            (
                *("-P", "-c", command, "--nodaemon", "--pidfile="),
                *("--logger", "protocol.json_log.observer"),
                *("buildmaster", "--config", str(folder / "master.yaml")),
            ),
            env=environment(),
            path=str(folder),
        )
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(status, 1, err)
        worst = [line["text"] for line in lines if line["level"] == "critical"]
        self.assertTrue(any("/nowhere" in text for text in worst), lines)
