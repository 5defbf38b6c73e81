"""What Prometheus is given, and the rules by which it alerts."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import which
from subprocess import run
from typing import Any

import yaml
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.http.prometheus import Meters
from buildmaster.metrics import BOUNDS, Histogram, metric
from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.status.test_reading import full_farm
from tests.requirements import require

ALERTS = Path(__file__).parents[3] / "examples" / "monitoring" / "alerts.yml"

_VALUE = re.compile(
    r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+]+)\Z'
)


def values(text: str) -> dict[str, float]:
    """What a text of metrics says; fails for a line that Prometheus would not read."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = _VALUE.match(line)
        assert match is not None, line
        found[f"{match[1]}{{{match[2] or ''}}}"] = float(match[3])
    return found


class FormatTests(SynchronousTestCase):
    def test_no_label_can_end_a_line_or_a_value(self) -> None:
        text = metric("x", "gauge", "X.", [({"a": 'b"} 7\nx{a="c\\'}, 1)])
        self.assertEqual(list(values(text).values()), [1])

    def test_a_histogram_counts_what_is_below_each_bound(self) -> None:
        histogram = Histogram()
        for seconds in (0.0005, 0.001, 0.0011, 100.0):
            histogram.add(seconds)
        found = values("\n".join(histogram.lines("h", "H.")))
        self.assertEqual(found['h_bucket{le="0.001"}'], 2)
        self.assertEqual(found['h_bucket{le="0.0025"}'], 3)
        self.assertEqual(found[f'h_bucket{{le="{BOUNDS[-1]:g}"}}'], 3)
        self.assertEqual((found['h_bucket{le="+Inf"}'], found["h_count{}"]), (4, 4))


class MeteredCase(SiteCase):
    def more(self) -> dict[str, Any]:
        folder = Path(self.mktemp_folder())
        self.meters = Meters(pools={"readers": self.database}, folder=folder)
        return {"meters": self.meters}


class MetricsTests(MeteredCase):
    async def read(self) -> dict[str, float]:
        response = await self.get("/metrics")
        text = await response.text()
        self.assertEqual(response.code, 200, text)
        return values(text)

    async def test_the_farm_is_counted(self) -> None:
        await full_farm(self.rows)
        await (await self.get("/api/v1/nothing")).content()
        found = await self.read()
        sort = 'architecture="amd64",kind="build"'
        self.assertEqual(found[f'headrace_jobs{{{sort},state="running",result=""}}'], 1)
        self.assertEqual(found["headrace_jobs_leased{}"], 1)
        self.assertEqual(found["headrace_holds{}"], 1)
        self.assertGreater(found["headrace_oldest_ready_seconds{}"], 0)
        self.assertEqual(found['headrace_http_answers_total{method="GET",status="404"}'], 1)

    async def test_events_that_are_held_back_show(self) -> None:
        async def hold(cursor: Any) -> None:
            await cursor.run("SELECT pg_current_xact_id()")
            await self.rows.event("held")
            await self.database.run("UPDATE event SET at = at - interval '1 hour'")
            found = await self.read()
            self.assertGreater(found["headrace_event_lag_seconds{}"], 3000)

        await self.database.transaction(hold)

    async def test_lines_failures_faults_and_outages_are_counted(self) -> None:
        await full_farm(self.rows)
        for result, said in (("failure", "flaky"), ("failure", None), ("error", None)):
            job = await self.rows.job()
            await self.rows.attempt(job, worker="ant")
            await self.rows.end_attempt(job, result=result)
            await self.database.run(
                "UPDATE job SET state = 'done', result = %s, reason = 'no',"
                " finished_at = farm_now() WHERE id = %s",
                (result, job),
            )
            if said is not None:
                await self.database.run(
                    "INSERT INTO classified (job, attempt, classification, classified_by)"
                    " VALUES (%s, 1, %s, 'ada')",
                    (job, said),
                )
        await self.database.run(
            "INSERT INTO fault (at, job, attempt, worker, reason) VALUES"
            " (farm_now(), 1, 1, 'bee', 'x'),"
            " (farm_now() - interval '2 days', 1, 1, 'bee', 'x')"
        )
        await self.database.run(
            "INSERT INTO outage (failure, reason, began_at, next_at)"
            " VALUES ('x', 'x', farm_now(), farm_now())"
        )
        found = await self.read()
        sort = 'architecture="amd64",isolation="chroot",performs=""'
        self.assertEqual(found[f"headrace_queue_jobs{{{sort}}}"], 1)
        self.assertGreater(found[f"headrace_queue_oldest_seconds{{{sort}}}"], 1e6)
        self.assertEqual(found['headrace_failures{result="failure",cause="none"}'], 1)
        self.assertEqual(found['headrace_failures{result="failure",cause="flaky"}'], 1)
        self.assertEqual(found['headrace_failures{result="error",cause="none"}'], 1)
        self.assertEqual(found['headrace_worker_faults{worker="ant"}'], 1)
        self.assertEqual(found['headrace_worker_faults{worker="bee"}'], 1)
        self.assertEqual(found["headrace_outages{}"], 1)

    async def test_the_master_tells_of_itself(self) -> None:
        self.meters.dispatch.add(0.02)
        found = await self.read()
        idle = 'headrace_database_connections{pool="readers",state="idle"}'
        self.assertGreater(found[idle], 0)
        self.assertEqual(found['headrace_dispatch_seconds_bucket{le="0.025"}'], 1)
        self.assertEqual(found['headrace_dispatch_seconds_bucket{le="0.01"}'], 0)
        self.assertGreater(
            found["headrace_disk_bytes{}"], found["headrace_disk_free_bytes{}"]
        )
        self.assertGreater(found["headrace_disk_free_bytes{}"], 0)


class AlertTests(MeteredCase):
    async def test_rules_name_metrics_that_there_are_and_each_is_tested(self) -> None:
        await full_farm(self.rows)
        await (await self.get("/healthz")).content()
        text = await (await self.get("/metrics")).text()
        there = set(re.findall("^# TYPE (headrace_[a-z_]+)", text, re.MULTILINE))
        rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
        tested = ALERTS.with_name("alerts_test.yml").read_text()
        for rule in rules:
            named = re.findall(r"headrace_[a-z_]+", rule["expr"])
            plain = {name.removesuffix("_bucket") for name in named}
            self.assertTrue(plain and plain <= there, rule)
            self.assertEqual(tested.count(f"alertname: {rule['alert']}"), 2, rule)

    async def test_prometheus_itself_reads_the_metrics_and_finds_the_rules_right(
        self,
    ) -> None:
        require(self, which("promtool") is not None, "promtool is not on this machine")
        await full_farm(self.rows)
        text = await (await self.get("/metrics")).text()
        for arguments, given in (
            (("check", "metrics"), text),
            (("check", "rules", "alerts.yml"), ""),
            (("test", "rules", "alerts_test.yml"), ""),
        ):
            ended = await deferToThread(
                run,
                ["promtool", *arguments],
                cwd=ALERTS.parent,
                input=given,
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
