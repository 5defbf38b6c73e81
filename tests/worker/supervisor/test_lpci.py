"""The real lpci's place taken by a stand-in that does what the real one was seen to do.

The real one needs LXD's snap and an image server, and runs on no machine of ours. What
the stand-in keeps to: the command line, each command by its own shell with ``-ec``, the
exit status, where files and properties lie, and that a project is a fresh copy.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from protocol.order import HandedOver
from protocol.pipeline.configuration import parse
from tests.worker.supervisor.attempts import Told, folder, order, passed, repository, run
from tests.worker.supervisor.blob_server import BlobServer
from tests.worker.supervisor.engine_differences import differences
from worker.supervisor import lpci
from worker.supervisor.settings import Settings

_STAND_IN = """\
#!{python}
import fnmatch, json, os, shutil, subprocess, sys, tempfile, yaml
arguments = sys.argv[1:]
with open({record!r}, "a") as record:
    print(json.dumps(arguments), file=record)
assert arguments[:3] == ["-v", "run-one", "--output-directory"], arguments
out, name, index = arguments[3], arguments[-2], int(arguments[-1])
environment = dict(os.environ)
for option, value in zip(arguments, arguments[1:]):
    if option == "--set-env":
        key, _, text = value.partition("=")
        environment[key] = text
job = yaml.safe_load(open(".launchpad.yaml"))["jobs"][name]
environment.update(job.get("environment") or {{}})
tree = os.path.join(tempfile.mkdtemp(), "project")
shutil.copytree(".", tree, symlinks=True)
if "input" in job:
    [found] = os.listdir(os.path.join(out, job["input"]["job-name"]))
    shutil.copytree(os.path.join(out, job["input"]["job-name"], found),
                    os.path.join(tree, job["input"]["target-directory"]))
print("Launched environment for", name, flush=True)
for key in ("run-before", "run", "run-after"):
    if job.get(key):
        argv = ["bash", "--noprofile", "--norc", "-ec", job[key]]
        status = subprocess.run(argv, cwd=tree, env=environment).returncode
        status = 128 - status if status < 0 else status
        if status:
            print(f"Job {{name!r}} failed with exit status {{status}}.", flush=True)
            sys.exit(status)
if "output" in job:
    place = os.path.join(out, name, str(index))
    os.makedirs(os.path.join(place, "files"))
    for top, _, files in os.walk(tree):
        for file in files:
            path = os.path.relpath(os.path.join(top, file), tree)
            if any(fnmatch.fnmatch(path, each) for each in job["output"]["paths"]):
                target = os.path.join(place, "files", path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(os.path.join(top, file), target)
    with open(os.path.join(place, "properties"), "w") as file:
        json.dump(job["output"].get("properties", {{}}), file)
"""

_CALL = ["-v", "run-one", "--output-directory"]

_PIPELINE = """\
pipeline: [pack, check, fail]
jobs:
  pack:
    series: jammy
    architectures: amd64
    run-before: mkdir d
    run: cp greeting d/x; echo more > d/y
    run-after: echo after
    output: {paths: ["d/*"], properties: {a: b}}
  check:
    series: jammy
    architectures: amd64
    input: {job-name: pack, target-directory: in}
    run: cat in/files/d/x in/properties; test ! -e d
  fail:
    series: jammy
    architectures: amd64
    run: exit 7
"""


PIPELINES = {
    "files": _PIPELINE,
    "matrix": """\
pipeline: [unit]
jobs:
  unit:
    matrix: [{series: jammy, architectures: amd64}, {series: focal, architectures: amd64}]
    run: echo some; echo more >&2
""",
    "later-stages": """\
pipeline: [[one, two], three]
jobs:
  one: {series: jammy, architectures: amd64, run: echo one; exit 3}
  two: {series: jammy, architectures: amd64, run: echo two}
  three: {series: jammy, architectures: amd64, run: echo three}
""",
    "environment": """\
pipeline: [unit]
jobs:
  unit:
    series: jammy
    architectures: amd64
    environment: {GREETING: hello}
    run: test -n "$HOME"; basename "$PWD"; echo "$GREETING"
""",
    "silent": """\
pipeline: [unit]
jobs:
  unit:
    series: jammy
    architectures: amd64
    run: kill -KILL $$
""",
}
#: What is told of which pipeline differently.
KNOWN = {
    "files log",  # of the file ``properties``: one has blanks behind its colons
    "files reason",
    "later-stages reason",
    "silent reason",
}


class LpciTests(SynchronousTestCase):
    def setUp(self) -> None:
        place = folder(self)
        place.parent.chmod(0o755)
        self.record = place / "record"
        program = place / "bin" / "lpci"
        program.parent.mkdir()
        program.write_text(_STAND_IN.format(python=sys.executable, record=str(self.record)))
        program.chmod(0o755)
        before = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", before)
        os.environ["PATH"] = f"{program.parent}:{before}"
        self.server = BlobServer(self)

    def test_what_a_job_is_handed_is_refused_and_never_left_out(self) -> None:
        text = (
            "pipeline: [unit]\njobs: {unit: {series: jammy, architectures: amd64, run: a}}"
        )
        for more in (
            {"handed": (HandedOver(job="build"),)},
            {"variables": {"CI_PACKAGE": "A"}},
        ):
            told = self.run_all(text, "chroot", more, engine="lpci")
            self.assertEqual(told.results, {"unit:0": "error"})
            self.assertIn("use a worker with its own engine", told.jobs["unit:0"].reason)
            self.assertFalse(told.end.final)

    def run_all(
        self, text: str, isolation: str, more: Any = None, /, **settings: Any
    ) -> Told:
        files = {".launchpad.yaml": text, "greeting": "hello\n"}
        pipeline = parse(text.encode()).pipeline
        assert pipeline is not None
        stages = [
            [(name, job) for name in stage for job in pipeline.jobs[name]]
            for stage in pipeline.stages
        ]
        asked = order(
            repository(self, files),
            stages,
            isolation=isolation,
            artifacts=self.server.artifacts,
            **(more or {}),
        )
        return run(self, asked, **settings)

    def test_results_files_and_properties_are_those_of_the_own_engine(self) -> None:
        """Run through both; the test prints what differs."""
        theirs = self.run_all(_PIPELINE, "chroot", engine="lpci")
        ours = self.run_all(_PIPELINE, "native")
        for told in (theirs, ours):
            self.assertEqual(
                told.results,
                {"pack:0": "success", "check:0": "success", "fail:0": "failure"},
                told.log(),
            )
        for name in ours.jobs:
            mine, other = ours.jobs[name], theirs.jobs[name]
            self.assertEqual(mine.files, other.files, name)
            self.assertEqual(mine.properties, other.properties, name)
            self.assertEqual(mine.exit_status, other.exit_status, name)
        self.assertIn("Launched environment", theirs.log("pack"))
        self.assertIn('hello\n{"a": "b"}', theirs.log("check"))
        first = json.loads(self.record.read_text().splitlines()[0])
        self.assertEqual(first[:3] + first[4:], [*_CALL, "pack", "0"])

    def test_the_differences_are_printed_and_are_those_of_the_manual(self) -> None:
        """The same pipelines through both engines; docs/environments-others.rst has it."""
        printed = []
        for name, text in sorted(PIPELINES.items()):
            theirs = self.run_all(text, "chroot", engine="lpci")
            ours = self.run_all(text, "native")
            printed += differences(name, ours, theirs)
        print("\n" + "\n".join(printed))
        told = re.compile(r"^(\S+): \S+: (\w+): .*")
        kinds = {told.sub(r"\1 \2", line) for line in printed}
        self.assertEqual(kinds, KNOWN, "\n".join(printed))

    def test_the_operator_s_wishes_are_passed_on_as_lpci_wants_them(self) -> None:
        settings = Settings(
            cache="/c",
            package_repositories=("deb http://a b c",),
            replace_package_repositories=("deb http://r b c",),
            plugin_settings={"miniconda_conda_channel": "x"},
            environment={"B": "2", "A": "1=1"},
            secrets_file="/s.yaml",
        )
        self.assertEqual(
            lpci.command(settings, ("unit", 3), Path("/out")),
            [
                *("lpci", "-v", "run-one", "--output-directory", "/out"),
                *("--package-repository", "deb http://a b c"),
                *("--replace-package-repositories", "deb http://r b c"),
                *("--plugin-setting", "miniconda_conda_channel=x"),
                *("--set-env", "A=1=1", "--set-env", "B=2"),
                *("--secrets", "/s.yaml", "unit", "3"),
            ],
        )

    def test_a_source_without_the_configuration_is_refused(self) -> None:
        text = yaml.safe_dump(
            {
                "pipeline": ["unit"],
                "jobs": {"unit": {"series": "jammy", "architectures": "amd64", "run": "x"}},
            }
        )
        pipeline = parse(text.encode()).pipeline
        assert pipeline is not None
        source = repository(self, {"other": "x"})
        asked = order(source, [[("unit", pipeline.jobs["unit"][0])]], isolation="chroot")
        told = run(self, asked, engine="lpci")
        self.assertEqual(told.results, {"unit:0": "error"})
        self.assertIn(".launchpad.yaml", told.jobs["unit:0"].reason)

    def test_a_passing_build_passes(self) -> None:
        text = _PIPELINE.replace("exit 7", "echo fine")
        passed(self, self.run_all(text, "chroot", engine="lpci"))
