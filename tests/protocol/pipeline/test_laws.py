"""Whatever the text is, there is an answer, and a valid one means something."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import parse
from protocol.pipeline.expanded import expanded
from protocol.pipeline.model import Pipeline
from protocol.pipeline.values import is_identifier
from tests.laws import law

KEYS = (
    "pipeline jobs license series architectures run run-before run-after environment"
    " packages package-repositories snaps plugin root output input matrix plugin-config"
    " paths distribute channels properties dynamic-properties expires job-name"
    " target-directory name channel classic type url ppa components formats suites"
    " trusted spdx path golang-version conda-python conda-packages build-target"
).split()
WORDS = (
    "unit lint jammy noble amd64 arm64 tox golang miniconda apt main deb alice/tools"
    " https://a.example/ ../x ../../x x P1D 1:00 true null 3.10 5 -1 .nan 2024-01-01"
).split()

MARKS = (":", "- ", "[", "]", "{", "}", ",", "\n", "  ", "&a ", "*a", "<<", "!!")

leaves: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS + WORDS) | leaves, inner, max_size=5)
    ),
    max_leaves=20,
)
jobs = st.dictionaries(st.sampled_from(KEYS), trees, max_size=6).map(
    lambda keys: {"series": "jammy", "architectures": ["amd64"], **keys}
)
configurations = st.fixed_dictionaries(
    {
        "pipeline": st.lists(st.sampled_from(("unit", "lint")), max_size=3) | trees,
        "jobs": st.dictionaries(st.sampled_from(("unit", "lint")), jobs, max_size=2)
        | trees,
    }
)


def written(tree: Any) -> bytes:
    """The tree as YAML, also where it is nothing that YAML can say."""
    try:
        text: str = yaml.safe_dump(tree, allow_unicode=True)
    except (yaml.YAMLError, TypeError):
        text = repr(tree)
    return text.encode(errors="replace")


class LawTests(SynchronousTestCase):
    @law
    @given(configurations | trees, st.booleans())
    def test_every_tree_gets_an_answer(self, tree: Any, lenient: bool) -> None:
        parsed = parse(written(tree), lpci_compatible=lenient)
        self.assertEqual(parsed.pipeline is None, bool(parsed.errors))
        for problem in (*parsed.errors, *parsed.warnings):
            self.assertTrue(problem.line is not None and problem.line > 0, problem)
        if parsed.pipeline is not None:
            json.dumps(expanded(parsed.pipeline), allow_nan=False)
            encoded = msgspec.msgpack.encode(parsed.pipeline)
            again = msgspec.msgpack.decode(encoded, type=Pipeline)
            self.assertEqual(again.stages, parsed.pipeline.stages)
            self.assertEqual(msgspec.msgpack.encode(again), encoded)

    @law
    @given(configurations)
    def test_what_is_valid_is_valid_compatibly_and_expands_to_the_same(
        self, tree: Any
    ) -> None:
        text = written(tree)
        strict = parse(text)
        if strict.pipeline is not None:
            lenient = parse(text, lpci_compatible=True)
            self.assertEqual(lenient.pipeline, strict.pipeline)
            for name in (name for stage in strict.pipeline.stages for name in stage):
                self.assertTrue(is_identifier(name))
                self.assertTrue(strict.pipeline.jobs[name])

    @law
    @given(st.lists(st.sampled_from((*KEYS, *WORDS, *MARKS)), max_size=60))
    def test_any_text_gets_an_answer(self, parts: list[str]) -> None:
        parsed = parse("".join(parts).encode())
        self.assertEqual(parsed.pipeline is None, bool(parsed.errors))
