from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli import data_folder
from buildmaster.cli.data_folder import (
    DataFolder,
    FarmSettings,
    default_cache_folder,
    default_data_folder,
)
from buildmaster.cli.problems import CommandFailed
from worker.config import read_config as read_worker_config


class DataFolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A folder with a space in its path, not yet made."""
        top = Path(self.mktemp()).absolute()
        self.folder = DataFolder(top / "a farm", top / "cache")

    def settle(self, **settings: object) -> None:
        """Everything that ``up`` writes."""
        asked = FarmSettings(**settings)  # type: ignore[arg-type]
        self.folder.make()
        config = self.folder.settle_master(asked)
        for name in config.workers:
            self.folder.settle_worker(name, "pb://127.0.0.1:8011", asked)

    def test_the_daemons_can_read_what_is_written(self) -> None:
        self.settle(workers=2, http="127.0.0.1:9999")
        config = self.folder.settle_master(FarmSettings())
        self.assertEqual(config.data_folder, self.folder.path)
        self.assertEqual(config.listen.http, "127.0.0.1:9999")
        self.assertEqual(sorted(config.workers), ["worker-1", "worker-2"])
        worker = read_worker_config(self.folder.worker_settings("worker-2"))
        self.assertEqual(worker.name, "worker-2")

    def test_tokens_are_for_us_alone(self) -> None:
        self.settle(workers=2)
        tokens = [self.folder.worker_folder(f"worker-{n}") / "token" for n in (1, 2)]
        for path in tokens:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        texts = {path.read_text() for path in tokens}
        self.assertEqual(len(texts), 2)
        self.assertGreater(min(map(len, texts)), 40)

    def test_nobody_else_can_list_the_folder(self) -> None:
        self.folder.make()
        mode = stat.S_IMODE(self.folder.path.stat().st_mode)
        self.assertEqual(mode, 0o711 if os.geteuid() == 0 else 0o700)

    def test_what_is_there_is_left_alone(self) -> None:
        """The operator may have changed it."""
        self.settle()
        for path in (self.folder.master_settings, self.folder.worker_settings("worker-1")):
            path.write_text(path.read_text() + "# mine\n")
        token = (self.folder.worker_folder("worker-1") / "token").read_text()
        self.settle(workers=3)
        self.assertTrue(self.folder.master_settings.read_text().endswith("# mine\n"))
        settings = self.folder.worker_settings("worker-1").read_text()
        self.assertTrue(settings.endswith("# mine\n"))
        self.assertEqual(
            (self.folder.worker_folder("worker-1") / "token").read_text(), token
        )

    def test_a_worker_follows_its_master_to_another_port(self) -> None:
        """Where the settings leave the port open, each start has another one."""
        asked = FarmSettings(listen_for_workers="127.0.0.1:0")
        self.folder.make()
        self.folder.settle_master(asked)
        self.folder.settle_worker("worker-1", "pb://127.0.0.1:1111", asked)
        path = self.folder.worker_settings("worker-1")
        path.write_text(path.read_text() + "# mine\n")
        self.folder.settle_worker("worker-1", "pb://127.0.0.1:2222", asked)
        self.assertEqual(read_worker_config(path).masters, ("pb://127.0.0.1:2222",))
        self.assertTrue(path.read_text().endswith("# mine\n"))

    def test_the_address_of_another_master_is_left_alone(self) -> None:
        self.settle()
        path = self.folder.worker_settings("worker-1")
        self.folder.settle_worker("worker-1", "pb://127.0.0.1:2222", FarmSettings())
        self.assertEqual(read_worker_config(path).masters, ("pb://127.0.0.1:8011",))

    def test_series_that_an_older_farm_maps_otherwise_are_a_sentence(self) -> None:
        self.settle(series_images={"jammy": "bookworm"})
        self.settle(series_images={"jammy": "bookworm"})
        for series, image in (("jammy", "trixie"), ("noble", "bookworm")):
            with self.assertRaisesRegex(CommandFailed, f"{series} to {image}: change"):
                self.settle(series_images={series: image})

    def test_settings_of_a_worker_that_are_wrong_are_left_for_it_to_name(self) -> None:
        self.settle(listen_for_workers="127.0.0.1:0")
        path = self.folder.worker_settings("worker-1")
        for text in ("masters: [", "[]", "masters: 3\nseries_images: 7\n"):
            path.write_text(text)
            self.settle()
            self.assertEqual(path.read_text(), text)

    def test_another_address_than_the_settings_say_is_a_sentence(self) -> None:
        self.settle(http="127.0.0.1:9999")
        with self.assertRaisesRegex(CommandFailed, "listens at 127.0.0.1:9999"):
            self.settle(http="127.0.0.1:8888")

    def test_a_port_that_is_taken_is_not_written_down(self) -> None:
        """Two farms of one machine find each a port for their workers."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.patch(data_folder, "DEFAULT_WORKERS", address)
            self.folder.make()
            config = self.folder.settle_master(FarmSettings())
        self.assertNotEqual(config.listen.workers, address)
        assert config.listen.workers is not None
        self.assertRegex(config.listen.workers, r"^127\.0\.0\.1:[1-9]\d+$")

    def test_settings_that_are_wrong_are_a_sentence(self) -> None:
        self.folder.make()
        self.folder.master_settings.write_text("data: .\nlisen: {}\n")
        with self.assertRaisesRegex(CommandFailed, "lisen"):
            self.settle()

    def test_a_folder_that_cannot_be_made_is_a_sentence(self) -> None:
        self.folder.path.parent.mkdir()
        self.folder.path.write_text("a file")
        inside = DataFolder(self.folder.path / "farm", self.folder.cache)
        with self.assertRaisesRegex(CommandFailed, "--data"):
            inside.make()

    def test_series_images_reach_the_workers(self) -> None:
        self.settle(series_images={"jammy": "bookworm"})
        settings = yaml.safe_load(self.folder.worker_settings("worker-1").read_text())
        self.assertEqual(settings["series_images"], {"jammy": "bookworm"})


class DefaultFolderTests(SynchronousTestCase):
    def test_the_environment_may_name_them(self) -> None:
        environ = {"XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/c"}
        self.assertEqual(default_data_folder(environ), Path("/d/headrace"))
        self.assertEqual(default_cache_folder(environ), Path("/c/headrace"))

    def test_a_relative_path_in_the_environment_is_passed_over(self) -> None:
        """As the specification of those variables asks."""
        self.assertTrue(default_data_folder({"XDG_DATA_HOME": "d"}).is_absolute())

    def test_root_has_the_machines_folders(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(default_data_folder({}), Path("/var/lib/headrace"))
        self.assertEqual(default_cache_folder({}), Path("/var/cache/headrace"))

    def test_others_have_folders_of_their_own(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        self.assertEqual(default_data_folder({}), Path.home() / ".local/share/headrace")
