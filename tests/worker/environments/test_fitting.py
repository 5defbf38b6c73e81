from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from worker.environments.fitting import PROJECT, apt_snippets, fit, make_project
from worker.environments.interface import UNPRIVILEGED
from worker.environments.tree import Tree

_PROXY = 'Acquire::http::Proxy "http://proxy.invalid:3128";\n'


class FitCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.host = self.base / "host"
        self.root = self.base / "root"
        (self.host / "etc/apt/apt.conf.d").mkdir(parents=True)
        (self.root / "etc").mkdir(parents=True)
        self.tree = Tree(os.open(self.root, os.O_PATH | os.O_DIRECTORY))
        self.addCleanup(self.tree.close)

    def snippet(self, name: str, text: str) -> None:
        (self.host / "etc/apt/apt.conf.d" / name).write_text(text)


class SnippetTests(FitCase):
    def test_only_settings_of_the_network_are_taken(self) -> None:
        self.snippet("10proxy", _PROXY)
        self.snippet("20block", 'Acquire { http { Timeout "9"; }; };')
        self.snippet("30hooks", f'{_PROXY}DPkg::Post-Invoke {{"touch /owned";}};')
        self.snippet("40other", 'APT::Install-Recommends "false";')
        self.snippet("50detect", 'Acquire::http::Proxy-Auto-Detect "/usr/bin/detect";')
        self.snippet("60cache", 'Dir::Cache "/elsewhere"; Acquire::Retries "3";')
        names = [path.name for path in apt_snippets(self.host)]
        self.assertEqual(names, ["10proxy", "20block"])

    def test_a_machine_without_apt_has_none(self) -> None:
        self.assertEqual(apt_snippets(self.base / "no"), [])


class FitTests(FitCase):
    def setUp(self) -> None:
        super().setUp()
        require(self, os.geteuid() == 0, "files of another user need root")

    def test_network_settings_and_certificates_come_along(self) -> None:
        self.snippet("10proxy", f'{_PROXY}Acquire::https::CaInfo "/opt/ca.pem";')
        for path, text in (
            ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
            ("opt/ca.pem", "one"),
            ("usr/local/share/ca-certificates/own.crt", "two"),
            ("etc/ssl/certs/ca-certificates.crt", "all"),
        ):
            (self.host / path).parent.mkdir(parents=True, exist_ok=True)
            (self.host / path).write_text(text)
        fit(self.tree, self.host)
        for path in (
            "etc/resolv.conf",
            "opt/ca.pem",
            "usr/local/share/ca-certificates/own.crt",
            "etc/ssl/certs/ca-certificates.crt",
            "etc/apt/apt.conf.d/10proxy",
        ):
            self.assertEqual((self.root / path).read_text(), (self.host / path).read_text())

    def test_an_image_keeps_its_own_certificates(self) -> None:
        for base, text in ((self.host, "theirs"), (self.root, "own")):
            (base / "etc/ssl/certs").mkdir(parents=True)
            (base / "etc/ssl/certs/ca-certificates.crt").write_text(text)
        fit(self.tree, self.host)
        text = (self.root / "etc/ssl/certs/ca-certificates.crt").read_text()
        self.assertEqual(text, "own")

    def test_a_link_in_the_image_is_replaced_and_not_followed(self) -> None:
        (self.host / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
        (self.root / "etc/resolv.conf").symlink_to("../run/stub.conf")
        fit(self.tree, self.host)
        self.assertFalse((self.root / "etc/resolv.conf").is_symlink())

    def test_the_user_gets_a_number_that_nobody_has(self) -> None:
        (self.root / "etc/passwd").write_text("a:x:900:1::/:/bin/sh\n")
        (self.root / "etc/group").write_text("g:x:899:\n")
        fit(self.tree, self.host)
        users = (self.root / "etc/passwd").read_text()
        self.assertIn(f"\n{UNPRIVILEGED}:x:898:898:", users)
        self.assertEqual((self.root / f"home/{UNPRIVILEGED}").stat().st_uid, 898)

    def test_a_user_that_is_there_is_left_alone(self) -> None:
        line = f"{UNPRIVILEGED}:x:5:5::/:/bin/sh\n"
        (self.root / "etc/passwd").write_text(line)
        fit(self.tree, self.host)
        self.assertEqual((self.root / "etc/passwd").read_text(), line)

    def test_a_second_project_is_empty_and_the_old_name_leads_to_it(self) -> None:
        fit(self.tree, self.host)
        for _ in range(2):
            make_project(self.tree)
            self.assertEqual(self.tree.files("/build/lpcraft/project"), [])
            (self.root / PROJECT.lstrip("/") / "f").touch()
