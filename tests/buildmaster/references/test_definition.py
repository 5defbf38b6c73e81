from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.references.definition import definition
from protocol.pipeline.configuration import parse
from protocol.pipeline.model import License, PipelineJob
from tests.buildmaster.references.files import jobs

EVERYTHING = """
every:
  series: noble
  architectures: amd64
  run-before: echo "before"
  run: |
    echo 'üñí \U0001f600' "\\x7f" $X: # {}
    printf 'a\\tb'
  run-after: "\\u0085 \\u2028 \\ufeff \\x7f end "
  environment: {A: "1", B: null, "C D": "x: y"}
  packages: [git, make]
  package-repositories:
    - {type: apt, ppa: ab/cd, suites: [noble]}
    - {type: apt, url: "https://x.y/z", components: [main], suites: [jammy], trusted: no}
  snaps: [{name: core, channel: edge, classic: true}]
  plugin: golang
  golang-version: "1.21"
  root: false
  output:
    paths: ["*.deb"]
    properties: {a: [1, {b: null}], "1": 2.5}
    expires: "1:00:00"
    channels: [x]
  input: {job-name: other, target-directory: in}
conda:
  series: noble
  architectures: amd64
  plugin: conda-build
  conda-packages: [a]
  conda-python: "3.10"
tox: {series: noble, architectures: amd64, plugin: tox}
"""


class DefinitionTests(SynchronousTestCase):
    """What a node runs is written as a pipeline of one job, and read again."""

    def back(
        self, name: str, runs: PipelineJob, terms: License | None = None
    ) -> PipelineJob:
        parsed = parse(definition(name, runs, terms).encode(), lpci_compatible=True)
        assert parsed.pipeline is not None, parsed.errors
        self.assertEqual(parsed.pipeline.stages, ((name,),))
        self.assertEqual(parsed.pipeline.license, terms)
        [read] = parsed.pipeline.jobs[name]
        return read

    def test_nothing_is_lost_on_the_way(self) -> None:
        for job in jobs(EVERYTHING).jobs:
            runs = job.variants[0].runs
            assert runs is not None
            self.assertEqual(self.back(job.name, runs, License(spdx="MIT")), runs, job.name)

    def test_equal_jobs_are_one_text(self) -> None:
        texts = set()
        for job in jobs("aa: {run: x}\nbb: {run: x}").jobs:
            assert job.variants[0].runs is not None
            texts.add(definition("cc", job.variants[0].runs, None))
        self.assertEqual(len(texts), 1)
