from __future__ import annotations

import hashlib
import os
import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from protocol.tls import make_certificate
from protocol.trust import SYSTEM, Trust
from tests.worker.supervisor.attempts import folder
from tests.worker.supervisor.blob_server import TOKEN, BlobServer
from worker.supervisor.blobs import Blobs, NoSuchBlob, plain_file
from worker.supervisor.endings import CannotRun


class TrustTests(SynchronousTestCase):
    """Files over HTTPS: the token goes to nobody but the farm."""

    def setUp(self) -> None:
        self.top = folder(self)
        self.file = self.top / "file"
        self.file.write_bytes(b"content")
        self.certificate, key = self.top / "c.pem", self.top / "k.pem"
        make_certificate(self.certificate, key, ["127.0.0.1"])
        self.server = BlobServer(self, (self.certificate, key))
        text = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        self.fingerprint = hashlib.sha256(text).hexdigest()

    def upload(self, trust: Trust) -> None:
        Blobs(self.server.url, TOKEN, lambda said: None, 20.0, trust).upload(self.file)

    def test_the_farm_is_known_by_its_authority_or_its_fingerprint(self) -> None:
        self.upload(Trust(ca_file=str(self.certificate)))
        self.upload(Trust(fingerprint=self.fingerprint))
        self.assertEqual(self.server.requests, ["HEAD 404", "PUT 201", "HEAD 200"])

    def test_another_certificate_gets_no_request(self) -> None:
        for trust, named in (
            (SYSTEM, "ca_file"),
            (Trust(fingerprint="0" * 64), "master_fingerprint"),
        ):
            with self.assertRaises(CannotRun) as caught:
                self.upload(trust)
            self.assertIn(named, str(caught.exception))
        self.assertEqual(self.server.requests, [])


class BlobsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = folder(self)
        self.server = BlobServer(self)
        self.said: list[str] = []

    def blobs(self, token: str = TOKEN, patience: float = 20.0) -> Blobs:
        return Blobs(self.server.url, token, self.said.append, patience)

    def file(self, content: bytes) -> Path:
        path = self.top / "file"
        path.write_bytes(content)
        return path

    def test_what_is_uploaded_can_be_downloaded(self) -> None:
        content = os.urandom(3_000_000)
        digest, size = self.blobs().upload(self.file(content))
        self.assertEqual(digest, hashlib.sha256(content).hexdigest())
        self.assertEqual(size, 3_000_000)
        self.blobs().download(digest, size, self.top / "back")
        self.assertEqual((self.top / "back").read_bytes(), content)

    def test_what_the_farm_has_is_not_sent_again(self) -> None:
        self.server.keep(b"known")
        self.blobs().upload(self.file(b"known"))
        self.assertEqual(self.server.requests, ["HEAD 200"])

    def test_an_empty_file_is_a_file(self) -> None:
        self.blobs().upload(self.file(b""))
        self.assertEqual(list(self.server.blobs.values()), [b""])

    def test_a_master_that_is_busy_is_asked_again(self) -> None:
        self.server.failures = [503, 500]
        self.blobs().upload(self.file(b"hello"))
        self.assertEqual(list(self.server.blobs.values()), [b"hello"])
        self.assertIn("trying again", self.said[0])

    def test_a_master_that_stays_away_is_left_for_the_one_that_came_instead(self) -> None:
        moved: list[str] = []
        gone = "http://127.0.0.1:1/artifacts"

        def said(sentence: str) -> None:
            self.said.append(sentence)
            moved.append(self.server.url)  # The daemon heard of it only now.

        def blobs() -> Blobs:
            return Blobs(gone, TOKEN, said, moved=lambda: moved[-1] if moved else None)

        digest, size = blobs().upload(self.file(b"hello"))
        self.assertEqual(list(self.server.blobs.values()), [b"hello"])
        moved.clear()
        blobs().download(digest, size, self.top / "back", f"{gone}/{digest}")
        self.assertEqual((self.top / "back").read_bytes(), b"hello")

    def test_patience_has_an_end(self) -> None:
        self.server.failures = [503] * 100
        error = self.assertRaises(
            CannotRun, self.blobs(patience=0.2).upload, self.file(b"hello")
        )
        self.assertIn("look whether it is up", error.reason)

    def test_a_wrong_token_is_not_tried_again(self) -> None:
        self.assertRaises(CannotRun, self.blobs(token="wrong").upload, self.file(b"x"))
        self.assertEqual(self.server.requests, ["HEAD 401"])

    def test_what_the_farm_has_no_room_for_ends_the_attempt_for_good(self) -> None:
        self.server.failures = [404, 413]
        with self.assertRaises(CannotRun) as caught:
            self.blobs().upload(self.file(b"x"))
        self.assertIn("the farm does not take a file", caught.exception.reason)
        self.assertTrue(caught.exception.final)

    def test_lost_content_is_told_as_such(self) -> None:
        self.assertRaises(NoSuchBlob, self.blobs().download, "0" * 64, 5, self.top / "back")

    def test_content_that_is_not_what_was_asked_for_is_refused(self) -> None:
        digest = self.server.keep(b"hello")
        for lie in (b"jello", b"hello and more"):
            self.server.blobs[digest] = lie
            self.assertRaises(
                CannotRun, self.blobs().download, digest, 5, self.top / "back"
            )

    def test_only_regular_files_are_read(self) -> None:
        (self.top / "link").symlink_to("/etc/hostname")
        os.mkfifo(self.top / "pipe")
        for name in ("link", "pipe", "."):
            with self.assertRaises(OSError), plain_file(self.top / name):
                pass
