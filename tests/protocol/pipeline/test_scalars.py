from __future__ import annotations

import math

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.scalars import BadScalar, Date, resolved, tagged
from tests.laws import law

WORDS = st.text("0123456789._:-+abefnoxstruylNTYF~ ", max_size=24)


class ScalarTests(SynchronousTestCase):
    def test_words_mean_what_yaml_1_1_says(self) -> None:
        for text, value in (
            ("on", True),
            ("No", False),
            ("3.10", 3.1),
            ("1:00:00", 3600),
            ("-1:30", -90),
            ("1:30.5", 90.5),
            ("0o7", "0o7"),
            ("010", 8),
            ("0x1F", 31),
            ("-0b11", -3),
            ("1_000", 1000),
            ("-.inf", -math.inf),
            ("", None),
            ("~", None),
            ("=", "="),
            ("<<", "<<"),
            ("jammy", "jammy"),
            ("2024-01-31", Date("2024-01-31")),
        ):
            got = resolved(text)
            self.assertEqual((got, type(got)), (value, type(value)), text)

    @law
    @given(WORDS)
    def test_every_word_means_what_the_safe_loader_makes_of_it(self, text: str) -> None:
        try:
            tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
            reference = yaml.SafeLoader("").construct_object(yaml.ScalarNode(tag, text))
        except (ValueError, yaml.YAMLError):
            return
        try:
            got = resolved(text)
        except BadScalar:
            self.fail(f"{text!r} is {reference!r} there")
        if not isinstance(got, Date):
            self.assertEqual(repr(got), repr(reference))

    def test_a_date_that_is_none_is_still_only_a_date(self) -> None:
        self.assertEqual(resolved("2024-99-99"), Date("2024-99-99"))

    def test_a_tag_must_tell_the_truth(self) -> None:
        self.assertEqual(tagged("tag:yaml.org,2002:str", "5"), "5")
        self.assertEqual(tagged("tag:yaml.org,2002:int", "5"), 5)
        for tag, text in (
            ("int", "x"),
            ("int", ""),
            ("int", "-"),
            ("float", "x"),
            ("bool", "maybe"),
            ("null", "x"),
            ("python/none", ""),
            ("binary", "aGk="),
        ):
            self.assertRaises(BadScalar, tagged, f"tag:yaml.org,2002:{tag}", text)
        self.assertRaises(BadScalar, tagged, "!mine", "x")
