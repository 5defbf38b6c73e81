from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.postgres import binaries
from buildmaster.postgres.account import account_to_run_as
from buildmaster.postgres.binaries import NoBinaries, find_binaries
from tests.buildmaster.postgres.folders import short_folder
from tests.requirements import require


def pretend(folder: Path, says: str) -> Path:
    """Make a folder with programs of which ``postgres --version`` says something."""
    folder.mkdir(exist_ok=True)
    for program in ("initdb", "postgres"):
        script = folder / program
        script.write_text(f"#!/bin/sh\necho '{says}'\n")
        script.chmod(0o755)
    return folder


class FindBinariesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = short_folder(self)
        self.patch(binaries, "_FOLDERS", (f"{self.folder}/lib/*",))
        self.patch(binaries, "_CARRIER", "no_such_carrier")
        (self.folder / "lib").mkdir()

    def install(self, version: str, says: str | None = None) -> Path:
        (self.folder / "lib" / version).mkdir()
        says = f"postgres (PostgreSQL) {version}.1 (Debian)" if says is None else says
        return pretend(self.folder / "lib" / version / "bin", says)

    def test_the_newest_of_the_distribution_is_taken(self) -> None:
        self.install("9.6")
        self.install("15")
        newest = self.install("17")
        found = find_binaries({"PATH": ""})
        self.assertEqual((found.folder, found.major), (newest, 17))

    def test_the_version_of_an_existing_cluster_is_preferred(self) -> None:
        older = self.install("15")
        self.install("17")
        self.assertEqual(find_binaries({"PATH": ""}, major=15).folder, older)

    def test_another_version_is_told_where_the_right_one_is_missing(self) -> None:
        self.install("17")
        self.assertEqual(find_binaries({"PATH": ""}, major=15).major, 17)

    def test_a_beta_has_the_version_that_it_will_be(self) -> None:
        self.install("18", says="postgres (PostgreSQL) 18beta1")
        self.assertEqual(find_binaries({"PATH": ""}).major, 18)

    def test_the_path_goes_before_the_distribution(self) -> None:
        self.install("17")
        own = pretend(self.folder / "own", "postgres (PostgreSQL) 16.2")
        self.assertEqual(find_binaries({"PATH": str(own)}).folder, own)

    def test_a_link_on_the_path_leads_to_the_folder_with_the_other_programs(self) -> None:
        real = pretend(self.folder / "real", "postgres (PostgreSQL) 16.2")
        links = self.folder / "links"
        links.mkdir()
        (links / "initdb").symlink_to(real / "initdb")
        self.assertEqual(find_binaries({"PATH": str(links)}).folder, real)

    def test_pg_config_of_a_client_library_is_passed_over(self) -> None:
        server = self.install("16")
        client = self.folder / "client"
        client.mkdir()
        (client / "pg_config").write_text(f"#!/bin/sh\necho {shlex.quote(str(client))}\n")
        (client / "pg_config").chmod(0o755)
        self.assertEqual(find_binaries({"PATH": str(client)}).folder, server)

    def test_the_setting_settles_it(self) -> None:
        self.install("17")
        own = pretend(self.folder / "own", "postgres (PostgreSQL) 14.9")
        found = find_binaries({"PATH": "", "HEADRACE_PG_BIN": str(own)})
        self.assertEqual((found.folder, found.major), (own, 14))

    def test_a_wrong_setting_is_refused_although_another_one_would_do(self) -> None:
        self.install("17")
        environ = {"PATH": "", "HEADRACE_PG_BIN": str(self.folder / "nothing")}
        error = self.assertRaises(NoBinaries, find_binaries, environ)
        self.assertIn("HEADRACE_PG_BIN", str(error))
        self.assertIn("no initdb", str(error))

    def test_an_old_version_is_passed_over_with_the_reason(self) -> None:
        self.install("13")
        error = self.assertRaises(NoBinaries, find_binaries, {"PATH": ""})
        self.assertIn("version 13, older than 14", str(error))
        self.assertIn("install the package", str(error))

    def test_programs_that_do_not_run_are_passed_over_with_what_they_said(self) -> None:
        self.install("17", says="error while loading shared libraries: libpq")
        error = self.assertRaises(NoBinaries, find_binaries, {"PATH": ""})
        self.assertIn("loading shared libraries", str(error))

    def test_programs_that_the_account_can_not_reach_are_passed_over(self) -> None:
        """As in a virtual environment under /root."""
        older = self.install("15")
        hidden = self.install("17")
        closed = 0o700 if account_to_run_as().is_other else 0o000
        hidden.parent.chmod(closed)
        self.addCleanup(hidden.parent.chmod, 0o755)
        self.assertEqual(find_binaries({"PATH": ""}).folder, older)
        (older / "initdb").unlink()
        error = self.assertRaises(NoBinaries, find_binaries, {"PATH": ""})
        self.assertIn(f"{hidden}: the account", str(error))

    def wheel(self) -> Path:
        """A wheel that carries programs; the folder of these."""
        package = self.folder / "carrier_of_programs"
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        carried = package / "pginstall" / "bin"
        carried.parent.mkdir()
        pretend(carried, "postgres (PostgreSQL) 18.4")
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.patch(binaries, "_CARRIER", "carrier_of_programs")
        return carried

    def test_a_wheel_that_the_account_can_not_reach_is_copied_once(self) -> None:
        require(self, os.geteuid() == 0, "others run PostgreSQL themselves")
        carried = self.wheel()
        libraries = self.folder / "carrier_of_programs.libs"
        libraries.mkdir(mode=0o700)
        (libraries / "libpq.so").touch(mode=0o600)
        # As the linker does, the program looks for its library from where it is itself.
        (carried / "postgres").write_text(
            '#!/bin/sh\ncat "${0%/*}/../../../carrier_of_programs.libs/libpq.so" &&'
            "echo 'postgres (PostgreSQL) 18.4'\n"
        )
        carried.parent.parent.chmod(0o700)
        copies = short_folder(self) / "headrace" / "programs"
        found = find_binaries({"PATH": ""}, copies=copies)
        [copy] = copies.glob("[!.]*")
        inside = carried.relative_to(self.folder)
        self.assertEqual((found.folder, found.major), (copy / inside, 18))
        self.assertEqual((found.folder / "initdb").stat().st_mode & 0o777, 0o755)
        made_at = copy.stat().st_ctime_ns
        self.assertEqual(find_binaries({"PATH": ""}, copies=copies), found)
        self.assertEqual(copy.stat().st_ctime_ns, made_at)
        pretend(carried, "postgres (PostgreSQL) 19.1")
        self.assertEqual(find_binaries({"PATH": ""}, copies=copies).major, 19)

    def test_a_place_for_copies_that_others_can_write_to_is_not_used(self) -> None:
        require(self, os.geteuid() == 0, "others run PostgreSQL themselves")
        carried = self.wheel()
        carried.parent.parent.chmod(0o700)
        copies = short_folder(self) / "programs"
        copies.mkdir()
        copies.chmod(0o777)
        error = self.assertRaises(NoBinaries, find_binaries, {"PATH": ""}, copies=copies)
        self.assertIn("is open to other accounts", str(error))
        self.assertEqual(list(copies.iterdir()), [])

    def test_the_wheel_comes_last_and_is_never_imported(self) -> None:
        carried = self.wheel()
        self.assertEqual(find_binaries({"PATH": ""}).folder, carried)
        self.assertNotIn("carrier_of_programs", sys.modules)
        installed = self.install("15")
        self.assertEqual(find_binaries({"PATH": ""}).folder, installed)
