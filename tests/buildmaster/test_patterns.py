"""The small languages of operators: what they mean, and that nothing gets past them."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.patterns import (
    FIELDS,
    BadPattern,
    Condition,
    Selector,
    like,
    parse_filter,
    parse_selector,
)

HOSTILE = "'; DROP TABLE job; --"


class FilterTests(SynchronousTestCase):
    def test_conditions_values_and_quotes(self) -> None:
        self.assertEqual(
            parse_filter(
                'state=ready|parked, owner=ann,name~test-*,id>10,project!="a,b\\"c"'
            ),
            (
                Condition("state", "=", ("ready", "parked")),
                Condition("owner", "=", ("ann",)),
                Condition("name", "~", ("test-*",)),
                Condition("id", ">", (10,)),
                Condition("project", "!=", ('a,b"c',)),
            ),
        )

    def test_what_is_no_filter_is_refused_with_a_sentence(self) -> None:
        for text, words in (
            ("", "characters"),
            ("   ", "characters"),
            ("ready", "cannot be read at 'ready'"),
            ("state=ready,", "cannot be read at ''"),
            ("state=read", "no job has the state 'read'"),
            ("colour=red", "no field 'colour'"),
            ("id=ten", "'ten' is not"),
            ("id=99999999999999999999", "is not"),
            ("id~1", "is a number"),
            ("owner<ann", "is no number"),
            ("owner~", "compared"),
            ("tag=", "is to be"),
            ('owner="ann', "cannot be read"),
            ("owner=a\0b", "characters"),
            ("owner=" + "a" * 2000, "characters"),
            (",".join(["id>1"] * 21), "conditions at most"),
        ):
            with self.assertRaises(BadPattern) as caught:
                parse_filter(text)
            self.assertIn(words, str(caught.exception), text)

    def test_a_filter_is_never_everything(self) -> None:
        """Nothing that means nothing is taken for all jobs."""
        for text in ("*", "all", ",", "=", "~*"):
            self.assertRaises(BadPattern, parse_filter, text)

    @given(
        st.sampled_from([f for f in FIELDS if f not in ("id", "run")]), st.text(min_size=1)
    )
    @example("owner", HOSTILE)
    def test_any_value_can_be_quoted(self, field: str, value: str) -> None:
        if field in ("state", "result") or "\0" in value or len(value) > 900:
            return
        quoted = re.sub(r'(["\\])', r"\\\1", value)
        found = parse_filter(f'{field}="{quoted}"')
        self.assertEqual(found, (Condition(field, "=", (value,)),))

    @given(st.text(alphabet="ab=~!<>,\"|\\ '%_*?" + "state"))
    def test_no_text_breaks_the_reader(self, text: str) -> None:
        try:
            found = parse_filter(text)
        except BadPattern:
            return
        self.assertTrue(all(each.field in FIELDS for each in found))


class SelectorTests(SynchronousTestCase):
    def test_names_tags_architectures_and_all(self) -> None:
        for text, wanted in (
            ("all", Selector("all")),
            ("mill-*", Selector("name", "mill-*")),
            ("tag:gpu", Selector("tag", "gpu")),
            ("arch:arm64", Selector("arch", "arm64")),
        ):
            self.assertEqual(parse_selector(text), wanted)
        for text in ("", "tag:", "colour:red", "a\0", "x" * 3000):
            self.assertRaises(BadPattern, parse_selector, text)

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_only_stars_and_question_marks_are_wild(self, glob: str, text: str) -> None:
        self.assertIsNotNone(re.fullmatch(_as_regex(like(glob)), glob, re.DOTALL))
        if "*" not in glob and "?" not in glob:
            is_same = re.fullmatch(_as_regex(like(glob)), text, re.DOTALL) is not None
            self.assertEqual(is_same, text == glob)


def _as_regex(pattern: str) -> str:
    """A pattern of LIKE as PostgreSQL reads it."""
    found, at = "", 0
    while at < len(pattern):
        one = pattern[at]
        if one == "\\":
            at += 1
            found += re.escape(pattern[at])
        else:
            found += {"%": ".*", "_": "."}.get(one, re.escape(one))
        at += 1
    return found
