from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.worker.supervisor.attempts import job
from worker.supervisor.commands import Script, environment, script
from worker.supervisor.endings import Malformed


def made(run: str | None = "make", **keys: Any) -> Script:
    return script(("unit", 0), job(run, **keys), "amd64", Path("/nowhere"), {})


class ScriptTests(SynchronousTestCase):
    def refusal(self, run: str | None = "make", **keys: Any) -> str:
        error: Malformed = self.assertRaises(Malformed, made, run, **keys)
        return error.reason

    def test_the_commands_come_in_order(self) -> None:
        self.assertEqual(
            made("b", run_before="a", run_after="c").steps,
            (("run-before", "a"), ("run", "b"), ("run-after", "c")),
        )

    def test_a_plugin_brings_its_packages_first_and_its_variables_below(self) -> None:
        tox = made(
            None, plugin="tox", packages=("git",), environment={"TOX_TESTENV_PASSENV": "x"}
        )
        self.assertEqual(tox.packages, ("python3-pip", "git"))
        self.assertEqual(tox.environment["TOX_TESTENV_PASSENV"], "x")
        self.assertIn("tox==3.24.5", dict(tox.steps)["run"])

    def test_a_jobs_own_run_replaces_the_plugins(self) -> None:
        self.assertEqual(made("tox -e py", plugin="tox").steps, (("run", "tox -e py"),))

    def test_what_cannot_be_done_is_refused_by_its_key(self) -> None:
        self.assertIn("`plugin` of unit:0 is pip", self.refusal(plugin="pip"))
        self.assertIn("does not set `run`", self.refusal(None))
        self.assertIn("does not set `run`", self.refusal(""))
        for plugin in ("golang", "miniconda"):
            config = {"golang-version": "1.21"} if plugin == "golang" else {}
            self.assertIn(
                "does not set `run`",
                self.refusal(None, plugin=plugin, plugin_config=config),
            )
        self.assertIn("`architectures` says", self.refusal(architectures=("arm64",)))


class EnvironmentTests(SynchronousTestCase):
    def test_later_layers_win_and_none_takes_away(self) -> None:
        layers = ({"a": "1", "b": "1", "c": "1"}, {"b": "2", "c": None}, {"d": None})
        self.assertEqual(environment(*layers), {"a": "1", "b": "2"})
