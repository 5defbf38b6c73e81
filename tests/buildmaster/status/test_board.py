"""The small front end in examples/board, which knows the HTTP interface only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.rows import HOSTILE

BOARD = Path(__file__).parents[3] / "examples" / "board" / "board.py"


class _Board(ProcessProtocol):
    def __init__(self) -> None:
        self.said = ""
        self.errors = ""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.said += data.decode()

    def errReceived(self, data: bytes) -> None:
        self.errors += data.decode()

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


class BoardTests(SiteCase):
    async def test_it_shows_what_is_there_and_what_changes(self) -> None:
        await self.rows.job(name=HOSTILE)
        going = await self.rows.job(name="going", state="running")
        board = _Board()
        process = reactor.spawnProcess(
            board, sys.executable, [sys.executable, str(BOARD), self.url], env={}
        )
        while "going  running" not in board.said:
            self.assertFalse(board.ended.called, board.errors)
            await (await self.get("/healthz")).content()

        await self.database.run(
            "UPDATE job SET state = 'done', result = 'success', finished_at = farm_now()"
            " WHERE id = %s",
            (going,),
        )
        await self.rows.event("job.done", job=going)
        while "going  done  success" not in board.said:
            self.assertFalse(board.ended.called, board.errors)
            await (await self.get("/healthz")).content()
        self.assertEqual(len(board.said.splitlines()), 3)
        process.signalProcess("KILL")
        await board.ended

    def test_it_needs_nothing_but_python(self) -> None:
        tree = ast.parse(BOARD.read_text())
        imports = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        known = {name.partition(".")[0] for name in imports} - set(sys.stdlib_module_names)
        self.assertEqual(known, set())
