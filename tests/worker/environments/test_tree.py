from __future__ import annotations

import os
import socket
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from worker.environments import traces
from worker.environments.interface import BadPath
from worker.environments.tree import Tree

_NAMES = st.sampled_from(["a", "b", "c"])
_PARTS = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5)
_TARGETS = st.builds(
    lambda start, parts: start + "/".join(parts),
    st.sampled_from(["", "FOLDER/", "/"]),
    _PARTS,
)
#: Folders, files and links, each made at a path if nothing is in its way.
_ENTRIES = st.lists(
    st.tuples(st.lists(_NAMES, min_size=1, max_size=3), st.none() | st.just("") | _TARGETS),
    max_size=8,
)


class TreeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(mkdtemp(dir="/tmp")).resolve()
        self.addCleanup(traces.remove, self.base)
        self.folder = self.base / "folder"
        self.folder.mkdir()
        self.descriptor = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        self.tree = Tree(self.descriptor)
        self.addCleanup(self.tree.close)
        self.here = Tree(os.dup(self.descriptor), str(self.folder))
        self.addCleanup(self.here.close)


class ResolveTests(TreeCase):
    def test_the_top_is_where_dots_end_in_a_chroot(self) -> None:
        (self.folder / "f").touch()
        self.assertEqual(self.tree.resolve("/../../f"), "/f")

    def test_an_absolute_link_starts_at_the_top_of_a_chroot(self) -> None:
        (self.folder / "d").mkdir()
        (self.folder / "f").touch()
        (self.folder / "d" / "link").symlink_to("/f")
        (self.folder / "d" / "up").symlink_to("../../../f")
        self.assertEqual(self.tree.resolve("/d/link"), "/f")
        self.assertEqual(self.tree.resolve("/d/up"), "/f")

    def test_dots_after_a_link_are_those_of_where_it_leads(self) -> None:
        (self.folder / "a" / "b").mkdir(parents=True)
        (self.folder / "a" / "f").touch()
        (self.folder / "link").symlink_to("a/b")
        self.assertEqual(self.tree.resolve("/link/../f"), "/a/f")

    def test_a_path_with_another_beginning_leads_out(self) -> None:
        for path in ("/etc/passwd", f"{self.folder}x", f"{self.folder}/..", "relative"):
            with self.assertRaises(BadPath):
                self.here.resolve(path)

    def test_impossible_names_are_refused_in_one_line(self) -> None:
        for path in ("/\0", "/" + "x" * 300, "/f/g", "/no\nsuch"):
            (self.folder / "f").touch()
            error = self.assertRaises(BadPath, self.tree.resolve, path)
            self.assertNotIn("\n", str(error))

    def test_it_holds_no_descriptor_afterwards(self) -> None:
        (self.folder / "a").mkdir()
        (self.folder / "a" / "l").symlink_to("/a/../a")
        before = os.listdir("/proc/self/fd")
        self.tree.resolve("/a/l/l/l")
        with self.assertRaises(BadPath):
            self.tree.resolve("/a/l/no")
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    @settings(max_examples=150, deadline=None)
    @given(entries=_ENTRIES, path=_PARTS)
    def test_it_answers_what_the_kernel_answers_or_refuses(
        self, entries: list[tuple[list[str], str | None]], path: list[str]
    ) -> None:
        """Whatever links there are, and never with a place outside of the folder."""
        traces.remove(self.folder / "t")
        top = self.folder / "t"
        top.mkdir()
        for parts, target in entries:
            place = top.joinpath(*parts)
            try:
                if target is None:
                    place.mkdir(parents=True)
                elif target == "":
                    place.touch()
                else:
                    place.symlink_to(target.replace("FOLDER", str(top)))
            except OSError:
                continue
        asked = f"{top}/{'/'.join(path)}"
        try:
            answer = self.here.resolve(asked)
        except BadPath:
            return
        self.assertEqual(answer, os.path.realpath(asked, strict=True))
        self.assertTrue(f"{answer}/".startswith(f"{self.folder}/"))

    def test_the_top_itself_has_a_path(self) -> None:
        self.assertEqual(self.tree.resolve("/"), "/")
        self.assertEqual(self.here.resolve(str(self.folder)), str(self.folder))


class CopyTests(TreeCase):
    def local(self, name: str) -> Path:
        return self.base / name

    def test_modes_and_times_are_kept_but_no_extra_rights(self) -> None:
        (self.folder / "f").write_text("x")
        os.utime(self.folder / "f", (1, 1_000_000_000))
        (self.folder / "f").chmod(0o6755)
        self.tree.pull("/f", self.local("f"))
        found = self.local("f").stat()
        self.assertEqual((found.st_mode & 0o7777, found.st_mtime), (0o755, 1_000_000_000))

    def test_sockets_are_refused(self) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.folder / "s"))
            self.assertRaises(BadPath, self.tree.pull, "/s", self.local("s"))

    def test_a_push_puts_links_themselves(self) -> None:
        self.local("d").mkdir()
        (self.local("d") / "l").symlink_to("/etc/passwd")
        self.tree.push(self.local("d"), "/new/d")
        self.assertEqual(os.readlink(self.folder / "new" / "d" / "l"), "/etc/passwd")

    def test_a_push_takes_the_place_of_files_and_links_but_not_of_folders(self) -> None:
        self.local("f").write_text("new")
        (self.base / "kept").write_text("old")
        (self.folder / "l").symlink_to(self.base / "kept")
        (self.folder / "f").write_text("old")
        (self.folder / "d").mkdir()
        for name in ("l", "f"):
            self.tree.push(self.local("f"), f"/{name}")
            self.assertEqual((self.folder / name).read_text(), "new")
        self.assertFalse((self.folder / "l").is_symlink())
        self.assertEqual((self.base / "kept").read_text(), "old")
        self.assertRaisesRegex(BadPath, "folder", self.tree.push, self.local("f"), "/d")

    def test_a_pull_replaces_a_link_and_does_not_follow_it(self) -> None:
        (self.folder / "f").write_text("new")
        (self.base / "kept").write_text("old")
        self.local("got").symlink_to(self.base / "kept")
        self.tree.pull("/f", self.local("got"))
        self.assertEqual((self.base / "kept").read_text(), "old")
        self.assertEqual(self.local("got").read_text(), "new")

    def test_a_bottomless_folder_is_refused_both_ways(self) -> None:
        place = os.dup(self.descriptor)
        for _ in range(300):
            os.mkdir("d", dir_fd=place)
            deeper = os.open("d", os.O_PATH | os.O_DIRECTORY, dir_fd=place)
            os.close(place)
            place = deeper
        os.close(place)
        before = os.listdir("/proc/self/fd")
        self.assertRaisesRegex(BadPath, "deeper", self.tree.files, "/")
        self.assertRaisesRegex(BadPath, "deeper", self.tree.pull, "/d", self.local("d"))
        self.assertRaisesRegex(BadPath, "deeper", self.tree.push, self.folder / "d", "/e")
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_names_of_any_bytes_arrive(self) -> None:
        names = [b"a\nb", b"\xff\xfe", b" ", b"-rf", "é".encode()]
        (self.folder / "d").mkdir()
        for name in names:
            Path(os.fsdecode(os.fsencode(self.folder / "d") + b"/" + name)).touch()
        self.tree.pull("/d", self.local("d"))
        self.assertEqual(sorted(os.listdir(os.fsencode(self.local("d")))), sorted(names))

    def test_a_large_file_arrives_whole(self) -> None:
        content = os.urandom(1 << 20) * 5
        (self.folder / "f").write_bytes(content)
        self.tree.pull("/f", self.local("f"))
        self.assertEqual(self.local("f").read_bytes(), content)


class RemoveTests(TreeCase):
    def test_a_link_is_removed_and_what_it_leads_to_is_not(self) -> None:
        (self.base / "kept").mkdir()
        (self.folder / "l").symlink_to(self.base / "kept")
        self.tree.remove("/l")
        self.assertTrue((self.base / "kept").exists())
        self.assertFalse(os.path.lexists(self.folder / "l"))

    def test_links_on_the_way_stay_inside(self) -> None:
        (self.base / "kept").mkdir()
        (self.base / "kept" / "f").touch()
        (self.folder / "l").symlink_to(self.base / "kept")
        self.tree.remove("/l/f")
        self.assertTrue((self.base / "kept" / "f").exists())

    def test_what_is_not_there_needs_no_removing(self) -> None:
        self.tree.remove("/no")
        self.tree.remove("/-rf")
