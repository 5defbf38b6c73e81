from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.model import PackageRepository, Snap
from tests.protocol.pipeline.texts import error_of, only, parsed_unit, valid_unit

URL = "https://archive.example.com/apt"


class SnapTests(SynchronousTestCase):
    def test_both_forms_are_read_and_the_old_one_is_warned_of(self) -> None:
        lines = ("run: x", "snaps: [go, {name: lxd}]")
        self.assertEqual(
            valid_unit(*lines).snaps, (Snap(name="go", classic=True), Snap(name="lxd"))
        )
        self.assertEqual(only(parsed_unit(*lines).warnings).where, "jobs.unit.0.snaps.0")

    def test_wrong_snaps_are_told_where_the_reference_tells_them(self) -> None:
        for value, where in (
            ("go", ""),
            ("[5]", ""),
            ("[{channel: edge}]", ""),
            ("[{name: }]", ""),
            ("[{name: 5}]", ".0.name"),
            ("[{name: go, channel: }]", ".0.channel"),
            ("[{name: go, channel: 1.2}]", ".0.channel"),
            ("[{name: go, classic: 'yes'}]", ".0.classic"),
            ("[{name: go, clasic: true}]", ".0.clasic"),
        ):
            self.assertEqual(error_of(f"snaps: {value}").where, f"jobs.unit.0.snaps{where}")


class RepositoryTests(SynchronousTestCase):
    def test_a_ppa_has_its_address_and_component(self) -> None:
        [repository] = valid_unit(
            "package-repositories: [{type: apt, ppa: alice/debian/tools, trusted: 'no'}]"
        ).package_repositories
        self.assertEqual(
            repository,
            PackageRepository(
                type="apt",
                url="https://ppa.launchpadcontent.net/alice/tools/debian",
                components=("main",),
                formats=("deb",),
                suites=("jammy",),
                ppa="alice/debian/tools",
                trusted="no",
            ),
        )

    def test_lines_are_in_the_order_of_formats_and_suites(self) -> None:
        [repository] = valid_unit(
            "package-repositories:",
            f"- {{type: apt, url: {URL}, components: [main, universe],",
            "   formats: [deb-src, deb], suites: [noble, focal]}",
        ).package_repositories
        self.assertEqual(
            repository.sources_list_lines,
            (
                f"deb-src {URL} noble main universe",
                f"deb-src {URL} focal main universe",
                f"deb {URL} noble main universe",
                f"deb {URL} focal main universe",
            ),
        )

    def test_a_url_may_hold_credentials_to_be_filled_in(self) -> None:
        url = "https://user:{{token}}@archive.example.com:8443/apt"
        [repository] = valid_unit(
            f"package-repositories: [{{type: apt, url: '{url}', components: [main]}}]"
        ).package_repositories
        self.assertEqual(repository.url, url)

    def test_a_url_cannot_bring_words_or_lines_of_its_own_into_the_list(self) -> None:
        for url in (
            "https://a.example/ trusted",
            "https://a.example/\\ndeb [trusted=yes] https://b.example ./",
            "https://a.example/\\u2028x",
            "https://a.example/\\n",
            "https://",
            "https:///apt",
            "ftp://a.example/",
            "file:///etc",
            "a.example",
        ):
            error = error_of(
                f'package-repositories: [{{type: apt, url: "{url}", components: [main]}}]'
            )
            self.assertEqual(error.where, "jobs.unit.0.package-repositories.0.url", url)

    def test_url_and_ppa_exclude_each_other_and_one_is_needed(self) -> None:
        for value in (
            "{type: apt}",
            f"{{type: apt, url: {URL}}}",
            f"{{type: apt, url: {URL}, components: []}}",
            f"{{type: apt, url: {URL}, ppa: alice/tools, components: [main]}}",
            "{type: apt, ppa: alice/tools, components: [main]}",
        ):
            error = error_of(f"package-repositories: [{value}]")
            self.assertEqual(
                error.where, "jobs.unit.0.package-repositories.0.__root__", value
            )

    def test_other_wrong_values_are_told_where_they_are(self) -> None:
        for value, where in (
            ("{type: yum, ppa: alice/tools}", ".type"),
            ("{ppa: alice/tools}", ".type"),
            ("{type: apt, ppa: 'ppa:alice/tools'}", ".ppa"),
            ("{type: apt, ppa: alice/../tools}", ".ppa"),
            ("{type: apt, ppa: alice/tools, formats: [udeb]}", ".formats.0"),
            ("{type: apt, ppa: alice/tools, suites: [potato]}", ".suites.0"),
            ("{type: apt, ppa: alice/tools, trusted: maybe}", ".trusted"),
            ("{type: apt, ppa: alice/tools, trusted: }", ".trusted"),
            ("{type: apt, ppa: alice/tools, key: x}", ".key"),
        ):
            error = error_of(f"package-repositories: [{value}]")
            self.assertEqual(error.where, f"jobs.unit.0.package-repositories.0{where}")
