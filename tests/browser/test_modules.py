"""The page's pure modules, asked in the browser that runs them."""

from __future__ import annotations

import json
from typing import Any

from tests.browser.case import BrowserCase


class ModuleTests(BrowserCase):
    runs = 0

    async def ask(self, module: str, expression: str) -> Any:
        return await self.tab.run(
            f"import('/page/{module}.js').then((m) => {{ return {expression}; }})"
        )

    async def test_they_hold_what_they_promise(self) -> None:
        await self.open("#/")
        await self.addresses()
        await self.frames()
        await self.terminals()
        await self.layers()
        await self.lanes()
        await self.stories()
        await self.words()

    async def addresses(self) -> None:
        place = await self.ask("farm/address", "m.placeOf('#/jobs/12/log/L3-L9?attempt=1')")
        self.assertEqual(
            place,
            {
                "kind": "jobs",
                "id": "12",
                "rest": ["log", "L3-L9"],
                "query": {"attempt": "1"},
            },
        )
        for name in ("a/b", "a?b#c", "100%", "ü \u202e", "%2e%2e"):
            there = await self.ask(
                "farm/address", f"m.placeOf(m.href('workers', {json.dumps(name)})).id"
            )
            self.assertEqual(there, name)
        self.assertEqual(await self.ask("farm/address", "m.placeOf('#/%zz').kind"), "%zz")

    async def frames(self) -> None:
        """However the bytes are cut, the same events come out."""
        text = (
            "retry: 1\n: hello\n\nid: 1-1\nevent: job.done\ndata: {\ndata: }\n\n: still\n\n"
        )
        found = await self.ask(
            "farm/frames",
            f"[1, 2, 3, 7, 1000].map((size) => {{ const f = new m.Frames(); const all = [];"
            f" const t = {json.dumps(text)}; for (let i = 0; i < t.length; i += size)"
            " all.push(...f.take(t.slice(i, i + size))); return JSON.stringify(all); })",
        )
        self.assertEqual(len(set(found)), 1)
        self.assertEqual(
            json.loads(found[0]), [{"id": "1-1", "kind": "job.done", "data": "{\n}"}]
        )

    async def terminals(self) -> None:
        """However a log is cut, the same lines come out; and nothing takes for ever."""
        text = "a\x1b[1;3"  # cut within a sequence
        text += (
            "1mred\x1b[0m\r\nxx\ryy\n\x1b]8;;u\x1b\\t\x1b]8;;\x07\nlong\rsho\n\x1b[3Jend\n"
        )
        found = await self.ask(
            "log/ansi",
            f"[1, 2, 5, 1000].map((size) => {{ const a = new m.Ansi(); const all = [];"
            f" const t = {json.dumps(text)}; for (let i = 0; i < t.length; i += size)"
            " all.push(...a.feed(t.slice(i, i + size))); return JSON.stringify(all); })",
        )
        self.assertEqual(len(set(found)), 1)
        lines = json.loads(found[0])
        self.assertEqual(
            [line["text"] for line in lines], ["ared", "yy", "t", "shog", "end"]
        )
        self.assertEqual(lines[0]["spans"], [[1, {"bold": True, "fg": 1}]])
        for evil in ("\x1b[", "\x1b]", "x\r", "\x1b[31mx", "\x1b]8;;", "\b", "\x1b[1;" * 5):
            # It would not end within this test's time if it were quadratic.
            rest = await self.ask(
                "log/ansi",
                "(() => { const a = new m.Ansi();"
                f" const t = {json.dumps(evil)}.repeat(100000);"
                " for (let i = 0; i < t.length; i += 65536) a.feed(t.slice(i, i + 65536));"
                " return a.feed('\\nstill there\\n').at(-1).text; })()",
            )
            self.assertEqual(rest, "still there")

    async def layers(self) -> None:
        placed = await self.ask(
            "draw/layers",
            "(() => { const n = [1, 2, 3, 4]; const p = m.arrange(n, [{from: 1, to: 2},"
            " {from: 2, to: 3}, {from: 1, to: 3}, {from: 9, to: 1}]);"
            " return [p.layers, ...n.map((each) => p.place.get(each).layer)]; })()",
        )
        self.assertEqual(placed, [3, 0, 1, 2, 0])
        # A circle, which no farm makes, and a thousand nodes.
        circle = "m.arrange([1, 2], [{from: 1, to: 2}, {from: 2, to: 1}]).place.size"
        self.assertEqual(await self.ask("draw/layers", circle), 2)
        many = await self.ask(
            "draw/layers",
            "(() => { const n = [...Array(1000).keys()];"
            " const e = n.slice(3).flatMap((i) => [{from: i >> 1, to: i},"
            " {from: i % 7, to: i}].filter((x) => x.from < x.to));"
            " const p = m.arrange(n, e).place; const seen = new Set(n.map((i) =>"
            " p.get(i).layer + ' ' + p.get(i).row)); return [seen.size,"
            " e.every((x) => p.get(x.from).layer < p.get(x.to).layer)]; })()",
        )
        self.assertEqual(many, [1000, True])

    async def lanes(self) -> None:
        bars = [
            [0, 1, 1, 0, 0, 10, "success", "done", 1],
            [0, 2, 1, 0, 5, None, None, "running", 1],
        ]
        bars.append([0, 3, 1, 0, 10, 12, "failure", "done", 1])
        found = await self.ask(
            "draw/lanes",
            "m.lanesOf({workers: [{name: 'a'}], names: ['x'],"
            f" bars: {json.dumps(bars)}}})"
            ".workers[0].bars.map((bar) => bar.lane)",
        )
        self.assertEqual(found, [0, 1, 0])

    async def stories(self) -> None:
        def moment(minute: int, what: str, seq: int | None = None, **more: Any) -> Any:
            at = f"2026-01-01T00:{minute:02}:00.000000Z"
            return {"n": minute, "at": at, "what": what, "seq": seq, "payload": None} | more

        def asked(minute: int, seq: int, kind: str, name: str, **more: Any) -> Any:
            return moment(minute, "asked", seq, kind=kind, name=name, **more)

        moments = [
            moment(0, "started", by="ada"),
            asked(0, 0, "local", "submit"),
            moment(1, "completed", 0),
            asked(1, 1, "job", "test", job=7),
            asked(1, 2, "timer", "patience", until="2026-01-01T00:03:00.000000Z"),
            moment(2, "signal", name="news"),
            moment(5, "completed", 1, payload={"result": "failure"}),
            asked(5, 3, "local", "submit"),
        ]
        waits = [
            {"what": "local", "name": "submit", "since": moments[-1]["at"], "seq": 3},
            {"what": "condition", "name": "built", "since": moments[-1]["at"], "seq": None},
        ]
        for each in waits:
            each |= {"until": None}
        told = {"waits": waits, "finished_at": None}
        given = (
            f"{json.dumps(moments)}, {json.dumps(told)}, true, Date.UTC(2026, 0, 1, 0, 9)"
        )
        story = await self.ask("draw/story", f"m.storyOf({given})")
        begin = story["from"]
        self.assertEqual(
            [
                (each["key"], (each["to"] - begin) / 60_000, each["word"], each["href"])
                for each in story["rows"]
            ],
            [
                ("row 0", 1, "completed", None),
                ("row 1", 5, "failure", "#/jobs/7"),
                ("row 2", 3, "no answer needed", None),
                ("row 3", 9, "waited for", None),
                ("wait 1", 9, "waited for", None),
            ],
        )
        self.assertEqual(
            [[row["key"] for row in lane["rows"]] for lane in story["lanes"]],
            [["row 0", "row 3"], ["row 1"], ["row 2"], ["wait 1"]],
        )
        self.assertEqual([each["key"] for each in story["marks"]], ["mark 0", "mark 2"])
        # Steps: minutes 0, 1, 2, 3, 5 and 9.
        for is_by_clock, places in (
            ("false", [0, 0.2, 0.7, 1]),
            ("true", [0, 1 / 9, 4 / 9, 1]),
        ):
            found = await self.ask(
                "draw/story",
                f"[0, 1, 4, 9].map((at) => m.scaleOf(m.storyOf({given}), {is_by_clock})"
                f".place({begin} + at * 60000))",
            )
            for there, place in zip(found, places, strict=True):
                self.assertAlmostEqual(there, place, 6)
        hidden = await self.ask("show/plain", "m.json(['\\u202e\\u001b[2J', 1])")
        self.assertEqual(hidden, '["<U+202E>\\u001b[2J",1]')
        self.assertEqual(
            await self.ask("show/plain", "m.plain('a\\u001b[2J\\n')"), "a<U+001B>[2J\n"
        )

    async def words(self) -> None:
        for seconds, said in (
            (0.25, "0.25 s"),
            (59, "59 s"),
            (200, "3 min 20 s"),
            (7500, "2 h 5 min"),
        ):
            self.assertEqual(await self.ask("show/words", f"m.span({seconds})"), said)
