from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.worker.supervisor.attempts import folder, job
from worker.supervisor.endings import Malformed
from worker.supervisor.plugins import Addition, Named, addition


class PluginCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = folder(self)

    def addition(
        self, plugin: str | None, run: str | None = "make", **keys: Any
    ) -> Addition:
        settings = keys.pop("settings", {})
        self.job = job(run, plugin=plugin, **keys)
        named = Named(who="unit:0", job=self.job, source=self.source, settings=settings)
        return addition(named)

    def steps(self, plugin: str, run: str | None = "make", **keys: Any) -> dict[str, str]:
        added = self.addition(plugin, run, **keys)
        return dict(added.steps(self.job))

    def refusal(self, plugin: str, **keys: Any) -> str:
        error: Malformed = self.assertRaises(Malformed, self.addition, plugin, **keys)
        return error.reason


class SimpleTests(PluginCase):
    def test_without_a_plugin_a_job_is_what_it_says(self) -> None:
        added = self.addition(None, run_before="a", run_after="b")
        self.assertEqual(
            added.steps(self.job),
            (("run-before", "a"), ("run", "make"), ("run-after", "b")),
        )
        self.assertEqual((added.packages, dict(added.environment)), ((), {}))

    def test_tox_is_installed_and_run(self) -> None:
        added = self.addition("tox", None)
        self.assertEqual(added.packages, ("python3-pip",))
        self.assertEqual(added.environment["TOX_TESTENV_PASSENV"], "http_proxy https_proxy")
        self.assertEqual(
            added.steps(self.job), (("run", "python3 -m pip install tox==3.24.5\ntox"),)
        )

    def test_pyproject_build_is_installed_and_run(self) -> None:
        added = self.addition("pyproject-build", None)
        self.assertEqual(added.packages, ("python3-pip", "python3-venv"))
        self.assertEqual(
            added.steps(self.job),
            (("run", "python3 -m pip install build==0.7.0\npython3 -m build"),),
        )

    def test_a_jobs_own_run_replaces_that_of_a_simple_plugin(self) -> None:
        for plugin in ("tox", "pyproject-build"):
            self.assertEqual(self.steps(plugin, "mine"), {"run": "mine"})

    def test_a_plugin_nobody_knows_is_refused_by_name(self) -> None:
        self.assertIn("`plugin` of unit:0 is pip", self.refusal("pip"))


class GolangTests(PluginCase):
    def test_go_is_on_the_path_of_all_that_the_job_says(self) -> None:
        steps = self.steps(
            "golang",
            run_before="go version",
            run_after="go clean",
            plugin_config={"golang-version": "1.17"},
        )
        path = 'export PATH=/usr/lib/go-1.17/bin:"$PATH"'
        self.assertEqual(
            steps,
            {
                "run-before": f"{path}\ngo version",
                "run": f"{path}\nmake",
                "run-after": f"{path}\ngo clean",
            },
        )

    def test_only_what_the_job_says_is_run(self) -> None:
        added = self.addition("golang", plugin_config={"golang-version": "1.17"})
        self.assertEqual([key for key, _ in added.steps(self.job)], ["run"])
        self.assertEqual(added.packages, ("golang-1.17",))

    def test_a_version_is_no_piece_of_shell(self) -> None:
        steps = self.steps("golang", "true", plugin_config={"golang-version": "$(touch x)"})
        subprocess.run(["bash", "-ec", steps["run"]], cwd=self.source, check=True)
        self.assertEqual(list(self.source.iterdir()), [])

    def test_a_version_is_needed(self) -> None:
        self.assertIn("`golang-version` of unit:0", self.refusal("golang"))
        self.assertIn(
            "`golang-version` of unit:0",
            self.refusal("golang", plugin_config={"golang-version": 1.17}),
        )


def command(step: str, name: str) -> str:
    """The line of ``step`` that calls ``name``."""
    [line] = [line for line in step.splitlines() if line.startswith(f"{name} ")]
    return line


class MinicondaTests(PluginCase):
    def test_packages_are_installed_in_order_with_python_and_pip(self) -> None:
        steps = self.steps(
            "miniconda",
            plugin_config={
                "conda-packages": ["scipy", "numpy>=1.17", "pip"],
                "conda-python": "3.9",
                "conda-channels": ["conda-forge"],
            },
            run_before="echo mine",
        )
        self.assertEqual(
            command(steps["run-before"], "conda"),
            "conda install -q -y -c conda-forge -c defaults PYTHON=3.9 'numpy>=1.17' pip "
            "scipy",
        )
        self.assertTrue(steps["run-before"].endswith("scipy\necho mine"))

    def test_everything_has_a_default(self) -> None:
        added = self.addition("miniconda")
        self.assertEqual(
            added.packages,
            ("git", "python3-dev", "python3-pip", "python3-venv", "wget"),
        )
        self.assertEqual(added.environment, {"CONDA_ENV": "lpci"})
        self.assertEqual(
            command(dict(added.steps(self.job))["run-before"], "conda"),
            "conda install -q -y -c defaults PYTHON=3.8 pip",
        )

    def test_channels_are_the_jobs_then_the_usual_then_the_operators(self) -> None:
        cases: tuple[tuple[list[str], str], ...] = (
            ([], "defaults mine"),
            (["a", "b"], "a b defaults mine"),
            (["defaults", "a"], "defaults a mine"),
            (["mine", "a"], "mine a defaults"),
        )
        for given, expected in cases:
            steps = self.steps(
                "miniconda",
                plugin_config={"conda-channels": given},
                settings={"miniconda_conda_channel": "mine"},
            )
            options = "".join(f" -c {each}" for each in expected.split())
            self.assertIn(f"install -q -y{options} PYTHON", steps["run-before"])

    def test_the_job_is_run_after_the_path_is_set_and_the_environment_is_told(self) -> None:
        steps = self.steps("miniconda", "pytest", run_after="echo over")
        self.assertRegex(steps["run"], r'(?s)^export CONDA_.*:\$PATH"\npytest$')
        self.assertRegex(steps["run-after"], r"(?s)\nconda env export\necho over$")

    def test_the_environment_is_told_even_if_the_job_has_nothing_to_add(self) -> None:
        self.assertTrue(self.steps("miniconda")["run-after"].endswith("conda env export"))

    def test_the_installer_comes_from_where_the_operator_says(self) -> None:
        url = "http://example.org/it's.sh"
        steps = self.steps("miniconda", settings={"miniconda_installer": url})
        self.assertIn("wget -q -O /tmp/miniconda.sh ", steps["run-before"])
        self.assertIn("example.org", steps["run-before"])

    def test_settings_of_the_wrong_kind_are_refused(self) -> None:
        for key, value in (
            ("conda-packages", "numpy"),
            ("conda-channels", [1]),
            ("conda-python", 3.8),
        ):
            reason = self.refusal("miniconda", plugin_config={key: value})
            self.assertIn(f"`{key}` of unit:0", reason)


class CondaBuildTests(PluginCase):
    def recipe(self, *names: str) -> None:
        for name in names:
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).touch()

    def test_a_recipe_is_found_and_built_with_its_variants(self) -> None:
        self.recipe(
            "info/recipe/meta.yaml",
            "info/recipe/conda_build_config.yaml",
            "info/recipe/parent/meta.yaml",
            "info/recipe/parent/conda_build_config.yaml",
        )
        steps = self.steps("conda-build", "echo mine")
        self.assertEqual(
            command(steps["run"], "conda-build"),
            "conda-build --no-anaconda-upload --output-folder dist -c defaults "
            "-m info/recipe/parent/conda_build_config.yaml "
            "-m info/recipe/conda_build_config.yaml info/recipe/parent",
        )
        self.assertTrue(steps["run"].endswith("\necho mine"))
        self.assertEqual(
            command(steps["run-before"], "conda"),
            "conda install -q -y -c defaults PYTHON=3.8 conda-build",
        )

    def test_a_target_that_is_given_is_taken(self) -> None:
        steps = self.steps("conda-build", None, plugin_config={"build-target": "a b"})
        self.assertEqual(
            command(steps["run"], "conda-build"),
            "conda-build --no-anaconda-upload --output-folder dist -c defaults 'a b'",
        )

    def test_it_does_something_without_a_run_of_the_job(self) -> None:
        self.recipe("info/recipe/meta.yaml")
        self.assertTrue(self.addition("conda-build", None).is_complete)

    def test_a_compiler_is_installed(self) -> None:
        self.recipe("info/recipe/meta.yaml")
        packages = self.addition("conda-build").packages
        self.assertEqual(packages[:2], ("git", "python3-dev"))
        self.assertTrue({"automake", "build-essential", "cmake", "libtool"} < {*packages})


#: Tells how it was called; what is to be made with it is there.
CONDA = """#!/bin/sh
echo "conda: $*"
[ "$1" != create ] || mkdir -p "$CONDA_PREFIX/conda-meta"
"""


class ShellTests(SynchronousTestCase):
    """What the generated commands do when they are run, with a conda that only tells."""

    def test_conda_is_called_in_its_turn(self) -> None:
        home = folder(self)
        conda = home / "miniconda3/bin/conda"
        conda.parent.mkdir(parents=True)
        conda.write_text(CONDA)
        conda.chmod(0o755)
        source = folder(self)
        asked = job("echo run", plugin="miniconda", run_before="echo before")
        added = addition(Named(who="unit:0", job=asked, source=source, settings={}))
        told = b""
        for _, text in added.steps(asked):
            told += subprocess.run(
                ["bash", "--noprofile", "--norc", "-ec", text],
                env={"HOME": str(home), "PATH": "/usr/bin:/bin", **added.environment},
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        self.assertEqual(
            told.decode().splitlines(),
            [
                f"conda: create -q -y -p {home}/miniconda3/envs/lpci",
                "conda: install -q -y -c defaults PYTHON=3.8 pip",
                "before",
                "run",
                "conda: env export",
            ],
        )

    def test_without_an_installer_the_job_says_who_must_do_what(self) -> None:
        asked = job("true", plugin="miniconda")
        named = Named(who="unit:0", job=asked, source=Path("/"), settings={})
        _, text = addition(named).steps(asked)[0]
        done = subprocess.run(
            ["bash", "-ec", text], env={"HOME": "/nowhere"}, stderr=subprocess.PIPE
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"set miniconda_installer in plugin_settings", done.stderr)
