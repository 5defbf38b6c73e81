from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from worker.environments.budget import trim_images, trim_mirrors
from worker.environments.images import Image
from worker.environments.layers import Additions, Layers
from worker.environments.store import Store


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.store = Store(self.folder / "layers")

    def add(self, key: str, size: int = 1 << 20, used_at: float | None = None) -> Path:
        def fill(folder: Path) -> None:
            (folder / "content").write_bytes(b"x" * size)

        path = self.store.add(key, fill)
        if used_at is not None:
            os.utime(self.folder / "layers" / f"{key}.json", (used_at, used_at))
        return path


class StoreTests(StoreCase):
    def test_what_is_there_is_not_made_again(self) -> None:
        first = self.add("a")
        (first / "content").write_text("kept")
        self.assertEqual((self.add("a") / "content").read_text(), "kept")

    def test_what_fails_leaves_nothing(self) -> None:
        def fail(folder: Path) -> None:
            (folder / "half").touch()
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.store.add, "a", fail)
        self.assertIsNone(self.store.hold("a"))
        self.assertEqual(self.store.entries(), [])

    def test_what_is_held_is_not_evicted(self) -> None:
        path = self.add("a")
        held = self.store.hold("a")
        assert held is not None
        self.assertFalse(self.store.evict("a"))
        self.assertTrue(path.exists())
        held.close()
        self.assertTrue(self.store.evict("a"))
        self.assertFalse(path.exists())
        self.assertTrue(self.store.evict("a"))

    def test_a_dead_holder_holds_nothing(self) -> None:
        self.add("a")
        child = os.fork()
        if child == 0:
            self.store.hold("a")
            os._exit(0)
        os.waitpid(child, 0)
        self.assertTrue(self.store.evict("a"))

    def test_size_and_use_are_told_the_oldest_first(self) -> None:
        self.add("a", 3 << 20, used_at=200)
        self.add("b", 1 << 20, used_at=100)
        self.assertEqual([e.key for e in self.store.entries()], ["b", "a"])
        self.assertGreaterEqual(self.store.entries()[1].size, 3 << 20)
        held = self.store.hold("b")
        assert held is not None
        held.close()
        self.assertEqual([e.key for e in self.store.entries()], ["a", "b"])


class BudgetTests(StoreCase):
    def kept(self) -> list[str]:
        return sorted(entry.key for entry in self.store.entries())

    def test_the_least_recently_used_go_first(self) -> None:
        for number, key in enumerate("cab"):
            self.add(key, used_at=100 + number)
        trim_images(self.folder, 5 << 20)
        self.assertEqual(self.kept(), ["a", "b", "c"])
        left = trim_images(self.folder, (2 << 20) + 100_000)
        self.assertEqual(self.kept(), ["a", "b"])
        self.assertLessEqual(left, (2 << 20) + 100_000)

    def test_what_is_in_use_stays_and_the_next_one_goes(self) -> None:
        for number, key in enumerate("ab"):
            self.add(key, used_at=100 + number)
        held = self.store.hold("a")
        assert held is not None
        self.addCleanup(held.close)
        os.utime(self.folder / "layers" / "a.json", (1, 1))
        trim_images(self.folder, 0)
        self.assertEqual(self.kept(), ["a"])

    def test_images_with_a_name_stay_and_others_go(self) -> None:
        images = Store(self.folder / "by-digest")
        for key in ("old", "new"):
            images.add(key, lambda folder: (folder / "x").touch())
        (self.folder / "bookworm").symlink_to("by-digest/new")
        trim_images(self.folder, 0)
        self.assertEqual([entry.key for entry in images.entries()], ["new"])

    def test_what_the_killed_left_half_made_goes(self) -> None:
        self.add("a")
        (self.folder / "layers" / ".b.new").mkdir()
        (self.folder / "layers" / ".c.old").mkdir()
        with self.store.alone("d"):
            (self.folder / "layers" / ".d.new").mkdir()
            trim_images(self.folder, 1 << 30)
        left = {path.name for path in (self.folder / "layers").iterdir() if path.is_dir()}
        self.assertEqual(left, {"a", ".d.new"})

    def test_mirrors_go_the_same_way(self) -> None:
        for number, key in enumerate("ba"):
            mirror = self.folder / f"{key}.git"
            mirror.mkdir()
            (mirror / "pack").write_bytes(b"x" * (1 << 20))
            lock = self.folder / f"{key}.lock"
            lock.touch()
            os.utime(lock, (100 + number, 100 + number))
        trim_mirrors(self.folder, (1 << 20) + 100_000)
        self.assertEqual([each.name for each in self.folder.glob("*.git")], ["a.git"])


class LayersTests(StoreCase):
    def test_the_same_additions_have_the_same_layer_for_a_while(self) -> None:
        now = [1000.0]
        layers = Layers(self.folder, 500, clock=lambda: now[0])
        image = Image("bookworm", "d" * 64, self.folder)

        def find(*packages: str, **more: object) -> bool:
            wanted = Additions(image=image, packages=packages, **more)  # type: ignore[arg-type]
            return layers.find(wanted) is not None

        wanted = Additions(image=image, packages=("git", "dash"))
        made = layers.make(wanted, lambda folder: None)
        assert made is not None
        self.assertTrue(made.is_new)
        self.assertTrue(find("dash", "git", "git"))
        self.assertFalse(find("dash"))
        self.assertFalse(find("git", "dash", sources=("deb x y z",)))
        now[0] += 500
        self.assertFalse(find("dash", "git"))
