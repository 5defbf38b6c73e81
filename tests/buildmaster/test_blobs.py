"""Blobs: kept whole under their true name, or not at all."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from twisted.trial.unittest import TestCase

from buildmaster.blobs import BlobStore, DiskFull, TooLarge, WrongHash
from tests.requirements import require_mount

DATA = b"contents"
SHA256 = hashlib.sha256(DATA).hexdigest()


class BlobTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.blobs = BlobStore(self.folder, 1000)

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    async def test_what_was_stored_is_found(self) -> None:
        self.assertIsNone(self.blobs.path(SHA256))
        upload = self.blobs.open_upload(SHA256)
        upload.write(DATA[:3])
        upload.write(DATA[3:])
        self.assertIsNone(self.blobs.path(SHA256))
        self.assertEqual(await upload.commit(), len(DATA))
        path = self.blobs.path(SHA256)
        assert path is not None
        self.assertEqual(path.read_bytes(), DATA)
        self.assertEqual(self._files(), [path])

    async def test_a_wrong_or_truncated_body_is_never_stored(self) -> None:
        for body in (b"", DATA[:-1], DATA + b"x"):
            upload = self.blobs.open_upload(SHA256)
            upload.write(body)
            with self.assertRaises(WrongHash):
                await upload.commit()
        self.assertEqual(self._files(), [])

    async def test_two_uploads_of_the_same_do_no_harm(self) -> None:
        uploads = [self.blobs.open_upload(SHA256) for _ in range(2)]
        for upload in uploads:
            upload.write(DATA)
        for upload in uploads:
            await upload.commit()
        self.assertEqual(len(self._files()), 1)

    def test_too_much_is_refused_while_it_arrives(self) -> None:
        upload = self.blobs.open_upload(SHA256)
        upload.write(bytes(1000))
        with self.assertRaises(TooLarge):
            upload.write(b"x")
        self.assertEqual(self._files(), [])

    def test_what_is_not_a_hash_never_becomes_a_path(self) -> None:
        secret = self.folder.parent / "secret"
        secret.write_text("x")
        for name in (
            "../secret",
            "..",
            "",
            SHA256.upper(),
            SHA256 + "\n",
            "a" * 63,
            "é" * 64,
        ):
            self.assertIsNone(self.blobs.path(name))
            with self.assertRaises(WrongHash):
                self.blobs.open_upload(name)

    async def test_a_start_removes_what_a_killed_process_left(self) -> None:
        self.blobs.open_upload(SHA256).write(DATA)
        self.assertEqual(len(self._files()), 1)
        BlobStore(self.folder, 1000)
        self.assertEqual(self._files(), [])

    def test_a_full_disk_is_told_and_leaves_nothing(self) -> None:
        require_mount(self)
        self.folder.joinpath("small").mkdir()
        small = str(self.folder.absolute() / "small")
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True
        )
        self.addCleanup(subprocess.run, ["umount", "-l", small], check=True)
        blobs = BlobStore(Path(small), 10**9)
        upload = blobs.open_upload(SHA256)
        with self.assertRaises(DiskFull) as caught:
            upload.write(bytes(200_000))
        self.assertIn("operator", str(caught.exception))
        self.assertEqual([p for p in Path(small).rglob("*") if p.is_file()], [])
