from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from worker.environments.apt_sources import (
    AptSource,
    for_series,
    parse_deb822,
    parse_one_line,
    read_apt_sources,
)

_URI = "http://mirror.invalid/debian"

_DEB822 = f"""\
# a comment
Types: deb deb-src
URIs: {_URI}
# a comment within
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/some.gpg

Types: deb
URIs: {_URI}
Suites: off
Components: main
Enabled: no

Types: deb-src
URIs: {_URI}
Suites: sources-only
Components: main

Types: deb
URIs: {_URI}
Suites: with-key
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINB
 -----END PGP PUBLIC KEY BLOCK-----
"""

_WORDS = st.text("abcxyz0-.", min_size=1, max_size=8).map(lambda text: f"w{text}")
_SOURCES = st.builds(
    AptSource,
    uri=st.just(_URI),
    suite=_WORDS,
    components=st.lists(_WORDS, min_size=1, max_size=3).map(tuple),
    signed_by=st.none() | _WORDS.map(lambda text: f"/{text}"),
)


class ParseTests(SynchronousTestCase):
    def test_deb822_stanzas_name_every_suite(self) -> None:
        both = ("main", "contrib")
        ring = "/usr/share/keyrings/some.gpg"
        self.assertEqual(
            parse_deb822(_DEB822),
            [
                AptSource(_URI, "bookworm", both, ring),
                AptSource(_URI, "bookworm-updates", both, ring),
                AptSource(_URI, "with-key", ("main",), None),
            ],
        )

    def test_lines_have_options_and_comments(self) -> None:
        text = (
            f"deb [arch=amd64 signed-by=/k.gpg] {_URI} sid main contrib # why\n"
            f"#deb {_URI} off main\ndeb-src {_URI} sid main\ndeb cdrom:[x]/ sid main\n"
            f"deb {_URI}\n\n deb  {_URI}   sid\n"
        )
        self.assertEqual(
            parse_one_line(text),
            [
                AptSource(_URI, "sid", ("main", "contrib"), "/k.gpg"),
                AptSource(_URI, "sid", ()),
            ],
        )

    @given(st.lists(_SOURCES, max_size=4))
    def test_what_is_written_is_read(self, sources: list[AptSource]) -> None:
        text = "\n".join(source.line for source in sources)
        self.assertEqual(parse_one_line(text), sources)

    @given(st.text())
    def test_any_text_is_read_without_an_error(self, text: str) -> None:
        parse_one_line(text)
        parse_deb822(text)

    def test_all_files_that_apt_reads_are_read_once(self) -> None:
        etc = Path(self.mktemp())
        (etc / "sources.list.d").mkdir(parents=True)
        line = f"deb {_URI} sid main\n"
        (etc / "sources.list").write_text(line)
        (etc / "sources.list.d" / "a.list").write_text(line)
        (etc / "sources.list.d" / "a.list.disabled").write_text(f"deb {_URI} no main\n")
        (etc / "sources.list.d" / "b.sources").write_text(_DEB822)
        suites = [source.suite for source in read_apt_sources(etc)]
        self.assertEqual(suites, ["sid", "bookworm", "bookworm-updates", "with-key"])

    def test_a_machine_without_apt_has_no_sources(self) -> None:
        self.assertEqual(read_apt_sources(Path(self.mktemp())), [])


class ForSeriesTests(SynchronousTestCase):
    own = [
        AptSource(_URI, suite, ("main",))
        for suite in ("bookworm", "bookworm-updates", "bookworm-security", "nodistro")
    ]

    def suites(self, series: str) -> list[str]:
        return [source.suite for source in for_series(self.own, "bookworm", series)]

    def test_the_suites_of_another_series_are_named_alike(self) -> None:
        self.assertEqual(
            self.suites("trixie"), ["trixie", "trixie-updates", "trixie-security"]
        )

    def test_unstable_has_no_others_beside_it(self) -> None:
        self.assertEqual(self.suites("sid"), ["sid"])

    def test_archives_of_something_else_are_left_out(self) -> None:
        self.assertEqual(for_series(self.own, "trixie", "trixie"), [])
