"""Buttons that change the farm: for whom it allows them, and with its own words if not."""

from __future__ import annotations

from typing import Any

from tests.browser.case import BrowserCase


class ActionTests(BrowserCase):
    async def told(self, text: str) -> None:
        await self.tab.until(
            f"document.querySelector('#told').innerText.includes({text!r})"
        )

    def one(self, statement: str, *parameters: Any) -> Any:
        return self.sql(statement, *parameters)[0][0]

    async def test_nobody_in_particular_sees_no_buttons(self) -> None:
        for place in ("#/queue", "#/workers", f"#/jobs/{self.scene.running[0]}", "#/rules"):
            await self.open(place)
            self.assertEqual(
                await self.tab.run(
                    "[...document.querySelectorAll('#view .actions button, #view td button,"
                    " .title button')].map((each) => each.innerText)"
                ),
                [],
                place,
            )

    async def test_a_job_is_cancelled_retried_and_classified(self) -> None:
        await self.open("#/")
        await self.sign_in()
        job = self.scene.ready[0]
        await self.open(f"#/jobs/{job}")
        await self.tab.click("#cancel")
        await self.answer(why="the wrong branch")
        await self.tab.until("document.querySelector('h1').innerText.includes('cancelled')")
        self.assertEqual(
            self.sql("SELECT state::text, result::text FROM job WHERE id = %s", job),
            [("done", "cancelled")],
        )
        await self.tab.click("#retry")
        await self.answer()
        await self.told("queued again")
        self.assertNotEqual(
            self.one("SELECT state::text FROM job WHERE id = %s", job), "done"
        )

        failed = self.one(
            """SELECT j.id FROM job j LEFT JOIN classified c ON c.job = j.id
               WHERE j.result = 'failure' AND c.job IS NULL LIMIT 1"""
        )
        await self.open(f"#/jobs/{failed}")
        await self.tab.click("#classify")
        await self.answer(
            classification="known_issue",
            link="https://issues.example.com/9",
            note="the wheel",
        )
        await self.tab.until(
            "!!document.querySelector(\".verdict a[href='https://issues.example.com/9']\")"
        )
        said = "SELECT classification::text, note FROM classified WHERE job = %s"
        self.assertEqual(self.sql(said, failed), [("known_issue", "the wheel")])
        await self.tab.click("#told button")
        await self.told("as before")
        self.assertEqual(self.sql(said, failed), [])
        self.assert_calm()

    async def test_a_line_of_a_log_becomes_a_rule(self) -> None:
        job = self.scene.logged
        await self.open("#/")
        await self.sign_in()
        await self.open(f"#/jobs/{job}/log/L10")
        await self.tab.until("!!document.querySelector('.line.marked')")
        text = await self.tab.run("document.querySelector('.line.marked .text').innerText")
        await self.tab.click(".log-bar button[title^='Make a rule']")
        pattern = await self.tab.until(
            "document.querySelector('dialog [name=pattern]').value"
        )
        self.assertNotEqual(pattern, text)
        self.assertEqual(
            await self.tab.run(f"new RegExp({pattern!r}).test({text!r})"), True
        )
        # A pattern that does not find its own line is no rule for it.
        await self.answer(pattern="nothing like this is in the log", classification="flaky")
        refusal = await self.tab.until("document.querySelector('dialog .error').innerText")
        self.assertIn("finds no line", refusal)
        await self.answer(pattern=pattern)
        await self.told("is at work")
        self.assertEqual(
            self.sql("SELECT 1 FROM failure_rule WHERE pattern = %s", pattern), [(1,)]
        )

    async def test_the_line_is_held_rescored_and_released(self) -> None:
        await self.open("#/")
        await self.sign_in()
        await self.open("#/queue")
        await self.tab.click("#hold")
        await self.answer(scope="architecture", name="arm64", reason="a new kernel")
        await self.tab.until(
            "document.querySelector('#view').innerText.includes('a new kernel')"
        )
        self.assertEqual(
            self.one("SELECT reason FROM queue_hold WHERE name = 'arm64'"), "a new kernel"
        )
        await self.tab.click("#view [aria-label='Release arm64']")
        await self.answer(reason="it is there")
        await self.tab.until(
            "!document.querySelector('#view').innerText.includes('a new kernel')"
        )
        self.assertEqual(self.sql("SELECT 1 FROM queue_hold WHERE name = 'arm64'"), [])

        job = self.scene.ready[1]
        await self.tab.click(f"#view [aria-label='Score of job {job}']")
        await self.answer(score="900000", reason="a security fix")
        score = "SELECT manual_score FROM job WHERE id = %s"
        await self.told("another score")
        self.assertEqual(self.one(score, job), 900_000)
        await self.tab.click("#told button")
        await self.told("earlier score")
        self.assertIsNone(self.one(score, job))

        # The farm says no: its sentence stays in the dialog.
        await self.tab.click(f"#view [aria-label='Move job {job}']")
        await self.answer(worker="nobody-has-this-name", reason="for fun")
        refusal = await self.tab.until("document.querySelector('dialog .error').innerText")
        self.assertIn("nobody-has-this-name", refusal)

    async def test_a_worker_is_drained_and_resumed_and_a_rule_comes_and_goes(self) -> None:
        await self.open("#/")
        await self.sign_in()
        await self.open("#/workers/mill-1")
        await self.tab.click("[aria-label='Drain mill-1']")
        await self.answer(reason="a new disk")
        duty = "SELECT duty::text FROM worker WHERE name = %s"
        await self.tab.until(
            "document.querySelector('#view').innerText.includes('a new disk')"
        )
        self.assertEqual(self.one(duty, "mill-1"), "draining")
        await self.tab.click("[aria-label='Resume mill-1']")
        await self.answer(reason="it is in")
        await self.told("is active")
        self.assertEqual(self.one(duty, "mill-1"), "active")
        self.sql(
            """UPDATE worker SET quarantined_at = farm_now(),
                   quarantine_reason = 'it failed three jobs' WHERE name = 'mill-3'"""
        )
        await self.open("#/workers/mill-3")
        await self.tab.click("[aria-label='Release mill-3']")
        await self.answer(reason="looked into")
        await self.tab.until(
            "!document.querySelector('#view').innerText.includes('quarantine')"
        )
        self.assertIsNone(
            self.one("SELECT quarantined_at FROM worker WHERE name = 'mill-3'")
        )

        await self.open("#/rules")
        await self.tab.click("#add-rule")
        await self.answer(pattern="disk .* full", classification="infrastructure")
        await self.tab.until(
            "document.querySelector('#view').innerText.includes('disk .* full')"
        )
        rule = self.one("SELECT id FROM failure_rule WHERE pattern = 'disk .* full'")
        await self.tab.click(f"[aria-label='Remove rule {rule}']")
        await self.answer()
        await self.tab.until(
            "!document.querySelector('#view').innerText.includes('disk .* full')"
        )
        self.assertEqual(self.sql("SELECT 1 FROM failure_rule WHERE id = %s", rule), [])
