"""Which worker nearly suits, and what it lacks."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.explanation.misses import misses, no_worker_could
from buildmaster.explanation.words import listed, needs_in_words, size, span
from buildmaster.matching import TAKES_HANDED_FILES, Amounts, Capability, Needs, suits
from protocol.messages import Offer

ARCHITECTURES = st.sampled_from(("amd64", "arm64"))
TAGS = st.lists(st.sampled_from(("gpu", "kvm")), unique=True, max_size=2).map(tuple)
SERIES = st.lists(st.sampled_from(("noble", "*")), unique=True, max_size=2).map(tuple)


def mill(name: str = "mill", **more: Any) -> Capability:
    offer = Offer(
        isolation=more.get("isolation", "native"),
        architecture=more.get("architecture", "amd64"),
        series=more.get("series", ("*",)),
    )
    return Capability(
        name,
        (offer,),
        more.get("tags", ()),
        more.get("restricted", ()),
        more.get("performs", ()),
        Amounts(more.get("slots", 2), memory=more.get("memory")),
    )


class NearestTests(SynchronousTestCase):
    def test_each_side_has_its_words(self) -> None:
        for needs, worker, words in (
            (Needs("s390x"), mill(), "is amd64"),
            (Needs("amd64", "vm"), mill(), "offers no vm"),
            (Needs("amd64", series=("noble",)), mill(series=("jammy",)), "no series noble"),
            (Needs("amd64", tags=("gpu",)), mill(), "has no tag gpu"),
            (Needs("amd64", tags=(TAKES_HANDED_FILES,)), mill(), "takes no handed files"),
            (Needs("amd64"), mill(tags=("x",), restricted=("x",)), "is kept for jobs"),
            (Needs("amd64", performs="sign"), mill(), "does not perform sign"),
            (Needs("amd64", slots=3), mill(), "has 2 slots"),
            (Needs("amd64", memory=2048), mill(memory=1024), "has 1G of memory"),
        ):
            told = no_worker_could(needs, [worker])
            assert told is not None
            self.assertIn(words, told)
            self.assertIn("the best worker, mill, ", told)

    def test_the_one_that_lacks_least_is_named(self) -> None:
        needs = Needs("s390x", memory=64 * 1024)
        told = no_worker_could(
            needs,
            [
                mill("big", memory=128 * 1024),
                mill("far", architecture="s390x", memory=16 * 1024),
                mill("near", architecture="s390x", memory=32 * 1024),
            ],
        )
        self.assertEqual(
            told,
            "it needs native on s390x, memory>=64G; the best worker, near, has 32G of"
            " memory",
        )

    def test_a_farm_without_workers(self) -> None:
        self.assertIn("no worker at all", str(no_worker_could(Needs(), [])))

    @given(
        st.builds(
            Needs,
            ARCHITECTURES,
            st.sampled_from(("native", "chroot")),
            SERIES,
            TAGS,
            st.sampled_from(("", "sign")),
            st.sampled_from(("", "mill", "other")),
            st.integers(1, 3),
            memory=st.integers(0, 3),
        ),
        st.builds(
            lambda **more: mill(**more),
            architecture=ARCHITECTURES,
            series=SERIES,
            tags=TAGS,
            restricted=TAGS,
            performs=st.sampled_from(((), ("sign",))),
            memory=st.sampled_from((None, 1, 2)),
        ),
    )
    def test_only_who_suits_lacks_nothing(self, needs: Needs, worker: Capability) -> None:
        self.assertEqual(suits(needs, worker), misses(needs, worker) == [])
        self.assertEqual(suits(needs, worker), no_worker_could(needs, [worker]) is None)


class WordsTests(SynchronousTestCase):
    def test_spans_sizes_and_lists(self) -> None:
        self.assertEqual(
            [span(s) for s in (0.4, 99, 100, 5999, 6000, 7200, 1e6)],
            ["0 s", "99 s", "2 min", "100 min", "1.7 h", "2 h", "12 days"],
        )
        self.assertEqual(
            [size(m) for m in (512, 2048, 2049, 20001)], ["512M", "2G", "2049M", "19.5G"]
        )
        self.assertEqual(listed(["a", "b", "c"]), "a, b and c")
        self.assertEqual(listed(list("abcdefgh")), "a, b, c, d, e and 3 more")
        self.assertEqual(
            needs_in_words(Needs("amd64", tags=("x",))), "native on amd64, tag x"
        )
