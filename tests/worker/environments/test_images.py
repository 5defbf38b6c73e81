from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.worker.environments.conformance import processes_with
from tests.worker.environments.shared_image import require_chroots, shared_image
from worker.environments import bootstrap as bootstrap_module
from worker.environments import images as images_module
from worker.environments.apt_sources import AptSource
from worker.environments.bootstrap import NoImage, Recipe, bootstrap
from worker.environments.images import Images

_SOURCE = AptSource("http://mirror.invalid/debian", "bookworm", ("main",))


class ImagesTests(SynchronousTestCase):
    """With a bootstrap that makes a file of what ``self.content`` says."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.images = Images(self.folder, {"jammy": "bookworm", "evil": "../../etc"})
        self.content = "one"
        self.said: list[str] = []
        self.recipes: list[Recipe] = []
        self.patch(images_module, "bootstrap", self.bootstrap)
        self.patch(images_module, "check_tools", lambda: None)
        self.patch(images_module, "_own_series", lambda: "bookworm")
        self.patch(images_module, "read_apt_sources", lambda: [_SOURCE])

    def bootstrap(
        self,
        recipe: Recipe,
        folder: Path,
        say: Callable[[str], None],
    ) -> str:
        self.recipes.append(recipe)
        (folder / "root").mkdir()
        (folder / "root" / "content").write_text(self.content)
        if self.content == "broken":
            raise NoImage("it broke")
        return self.content.encode().hex()

    def read(self, series: str) -> str:
        image = self.images.find(series)
        assert image is not None
        return (image.path / "content").read_text()

    def test_there_is_nothing_at_first(self) -> None:
        self.assertIsNone(self.images.find("bookworm"))
        self.assertEqual(self.images.available(), [])

    def test_a_series_that_is_mapped_has_the_image_it_is_mapped_to(self) -> None:
        image = self.images.build("jammy", self.said.append)
        self.assertEqual((image.name, image.digest), ("bookworm", b"one".hex()))
        self.assertEqual(self.images.find("jammy"), image)
        self.assertEqual(self.images.find("bookworm"), image)
        self.assertEqual(self.images.available(), ["bookworm", "jammy"])

    def test_an_image_that_the_operator_made_is_one_in_the_store_only(self) -> None:
        own = self.folder / "by-digest" / "mine-1"
        own.mkdir(parents=True)
        (self.folder / "mine").symlink_to("by-digest/mine-1")
        (self.folder / "other").mkdir()
        mine, other = self.images.find("mine"), self.images.find("other")
        assert mine is not None and other is not None
        held = self.images.hold(mine)
        self.assertEqual(held.path, own)
        held.close()
        error = self.assertRaises(NoImage, self.images.hold, other)
        self.assertIn("move it into there", str(error))

    def test_names_that_are_paths_are_no_series(self) -> None:
        (self.folder / "by-digest").mkdir(parents=True)
        for name in ("evil", "../../etc", "by-digest", ".", "..", "", "a/b", "a\n", ".x"):
            self.assertIsNone(self.images.find(name), name)
            self.assertRaises(NoImage, self.images.build, name, self.said.append)

    def test_a_new_image_leaves_the_old_one_to_who_uses_it(self) -> None:
        old = self.images.build("bookworm", self.said.append)
        self.content = "two"
        self.images.build("bookworm", self.said.append)
        self.assertEqual(self.read("bookworm"), "two")
        self.assertEqual((old.path / "content").read_text(), "one")

    def test_the_same_content_is_kept_once(self) -> None:
        first = self.images.build("bookworm", self.said.append)
        self.assertEqual(self.images.build("bookworm", self.said.append), first)
        self.assertEqual(len(self.images.store.entries()), 1)

    def test_a_failure_leaves_the_old_image_and_nothing_else(self) -> None:
        self.images.build("bookworm", self.said.append)
        self.content = "broken"
        self.assertRaises(NoImage, self.images.build, "bookworm", self.said.append)
        self.assertEqual(self.read("bookworm"), "one")
        names = sorted(os.listdir(self.folder))
        self.assertEqual(names, [".bookworm.lock", "bookworm", "by-digest"])

    def test_what_a_killed_builder_left_is_no_obstacle(self) -> None:
        (self.folder / ".bookworm.new" / "root").mkdir(parents=True)
        (self.folder / ".bookworm.link").symlink_to("nowhere")
        self.images.build("bookworm", self.said.append)
        self.assertEqual(self.read("bookworm"), "one")

    def test_a_second_builder_waits_and_takes_what_the_first_made(self) -> None:
        started_end, started = os.pipe()
        go_end, go = os.pipe()

        def slow(*arguments: object) -> str:
            os.write(started, b".")
            os.read(go_end, 1)
            return self.bootstrap(*arguments)  # type: ignore[arg-type]

        first = os.fork()
        if first == 0:
            try:
                self.patch(images_module, "bootstrap", slow)
                self.images.build("bookworm", lambda line: None)
            finally:
                os._exit(0)
        os.read(started_end, 1)
        self.content = "never made"

        def say(line: str) -> None:
            self.said.append(line)
            os.write(go, b".")

        self.images.build("bookworm", say)
        os.waitpid(first, 0)
        self.assertEqual(self.read("bookworm"), "one")
        self.assertIn("waiting", self.said[0])
        for descriptor in (started_end, started, go_end, go):
            os.close(descriptor)

    def test_packages_are_remembered_and_can_be_changed(self) -> None:
        self.images.build("bookworm", self.said.append, packages=["git", "dash", "git"])
        self.images.build("bookworm", self.said.append)
        self.assertEqual(self.recipes[-1].packages, ("dash", "git"))
        self.images.build("bookworm", self.said.append, packages=[])
        self.assertEqual(self.recipes[-1].packages, ())

    def test_an_image_can_have_a_name_of_its_own(self) -> None:
        """And is made of the same series when it is made again."""
        self.images.build("trixie", self.said.append, name="noble-like", packages=["git"])
        self.images.build("noble-like", self.said.append)
        self.assertEqual(self.recipes[-1].series, "trixie")
        [facts] = self.images.facts()
        self.assertEqual((facts.name, facts.series), ("noble-like", "trixie"))
        self.assertEqual(facts.packages, ("git",))

    def test_a_foreign_architecture_has_images_of_its_own(self) -> None:
        foreign = Images(self.folder, {"jammy": "bookworm"}, "arm64")
        self.images.build("bookworm", self.said.append)
        self.assertIsNone(foreign.find("jammy"))
        self.content = "two"
        foreign.build("jammy", self.said.append)
        self.assertEqual(self.recipes[-1].architecture, "arm64")
        self.assertEqual(self.read("jammy"), "one")
        self.assertEqual(foreign.available(), ["bookworm", "jammy"])
        self.assertEqual(self.images.available(), ["bookworm", "jammy"])
        self.assertEqual(
            [each.name for each in self.images.facts()], ["bookworm", "bookworm:arm64"]
        )

    def test_an_image_whose_name_is_taken_away_goes_when_nobody_uses_it(self) -> None:
        image = self.images.build("bookworm", self.said.append)
        held = self.images.hold(image)
        self.assertEqual(self.images.remove("bookworm"), image)
        self.assertIsNone(self.images.find("bookworm"))
        self.assertTrue(image.path.exists())
        held.close()
        self.images.sweep()
        self.assertFalse(image.path.exists())
        self.assertEqual(self.images.store.entries(), [])
        self.assertIsNone(self.images.remove("bookworm"))
        self.assertIsNone(self.images.remove("../by-digest"))

    def test_a_machine_of_no_known_series_says_so(self) -> None:
        self.patch(images_module, "_own_series", lambda: "")
        self.assertRaisesRegex(
            NoImage, "apt sources", self.images.build, "bookworm", self.said.append
        )


class BootstrapTests(SynchronousTestCase):
    """With a program of our own in the place of mmdebstrap."""

    recipe = Recipe("bookworm", (_SOURCE,))

    def setUp(self) -> None:
        require_chroots(self)
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "bin").mkdir(parents=True)
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        self.patch(os, "environ", {**os.environ, "PATH": path})
        self.said: list[str] = []
        self.say: Callable[[str], None] = self.said.append

    def run_with(self, script: str) -> str:
        program = self.folder / "bin" / "mmdebstrap"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        return bootstrap(self.recipe, self.folder, self.say)

    def test_the_archive_is_unpacked_and_its_digest_told(self) -> None:
        digest = self.run_with(
            f"echo I: working >&2; cd {shlex.quote(str(self.folder))}; mkdir t;"
            "echo x > t/f; tar -C t -c . | tee archive"
        )
        self.assertEqual((self.folder / "root" / "f").read_text(), "x\n")
        self.assertEqual(digest, _sha256(self.folder / "archive"))
        self.assertEqual(self.said, ["Image of bookworm: working"])

    def test_packages_and_the_architecture_are_passed_on(self) -> None:
        self.recipe = Recipe("bookworm", (_SOURCE,), ("git", "dash"), "arm64")
        self.run_with(
            f"printf '%s\\n' \"$@\" > {self.folder}/argv; tar -c --files-from=/dev/null"
        )
        argv = (self.folder / "argv").read_text().splitlines()
        self.assertIn("--include=git,dash", argv)
        self.assertIn("--architectures=arm64", argv)

    def test_sources_and_snippets_are_passed_on(self) -> None:
        self.run_with(
            f"printf '%s\\n' \"$@\" > {shlex.quote(str(self.folder))}/argv;"
            "tar -c --files-from=/dev/null"
        )
        argv = (self.folder / "argv").read_text().splitlines()
        self.assertEqual(argv[-3:], ["bookworm", "-", _SOURCE.line])
        self.assertIn('--aptopt=Acquire::Check-Valid-Until "false"', argv)

    def test_time_that_passes_in_silence_is_told(self) -> None:
        self.patch(bootstrap_module, "_PAUSE", 0.01)
        self.run_with("sleep 0.2; tar -c --files-from=/dev/null")
        self.assertIn("Image of bookworm: 0 s", self.said)

    def test_a_failure_tells_the_reason_and_what_to_do(self) -> None:
        with self.assertRaisesRegex(NoImage, r"the mirror is down\. .*series_images"):
            self.run_with("echo E: the mirror is down >&2; exit 1")

    def test_a_broken_archive_is_no_image(self) -> None:
        with self.assertRaisesRegex(NoImage, "unpacked"):
            self.run_with("head -c 100000 /dev/urandom")

    def test_an_interruption_kills_all_that_was_started(self) -> None:
        def interrupted(line: str) -> None:
            raise KeyboardInterrupt

        self.say = interrupted
        word = "headrace-interrupted"
        script = f"setsid bash -c 'exec -a {word} sleep 600' & echo I: x >&2; wait"
        with self.assertRaises(KeyboardInterrupt):
            self.run_with(script)
        self.assertEqual(processes_with(word), [])

    def test_a_machine_without_mmdebstrap_says_what_to_install(self) -> None:
        self.patch(os, "environ", {"PATH": str(self.folder)})
        self.assertRaisesRegex(
            NoImage,
            "apt-get install mmdebstrap",
            bootstrap,
            self.recipe,
            self.folder,
            self.said.append,
        )


class RealImageTests(SynchronousTestCase):
    def test_it_is_a_debian_system_of_the_series(self) -> None:
        image = shared_image(self)
        release = (image.path / "etc/os-release").read_text()
        self.assertIn(f"VERSION_CODENAME={image.name}\n", release)
        self.assertEqual(image.path.name, image.digest)
        self.assertEqual(image.path.stat().st_mode & 0o777, 0o755)


def _sha256(path: Path) -> str:
    from hashlib import sha256

    return sha256(path.read_bytes()).hexdigest()
