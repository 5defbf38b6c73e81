"""`protocol.tls`: who is believed, on real sockets."""

from __future__ import annotations

import hashlib
import ssl
import stat
from pathlib import Path

from OpenSSL import crypto
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from protocol import pb
from protocol.carrier import CannotConnect, Line
from protocol.tls import listener_options, make_certificate
from protocol.trust import SYSTEM, BadCertificate, Trust, fingerprint_of
from tests.protocol.carrier_conformance import RecordingPeer
from tests.protocol.lines import Secured


class TrustTests(TestCase):
    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]
        self.secured = Secured(self)
        self.other = Secured(self)
        self.heard = RecordingPeer()
        listening = await pb.listen(reactor, self.secured.loopback(), lambda: self.heard)
        self.addCleanup(listening.stopListening)
        self.port: int = listening.getHost().port  # type: ignore[attr-defined]

    async def connect(self, trust: Trust, host: str = "127.0.0.1") -> None:
        peer = RecordingPeer()
        line: Line = await pb.connect(
            reactor, self.secured.to(self.port, trust, host), peer
        )
        line.send(b"a secret")
        line.close()
        await peer.until_closed()

    async def refused(self, trust: Trust, host: str = "127.0.0.1") -> str:
        error = await self.assertFailure(
            pb.connect(reactor, self.secured.to(self.port, trust, host), RecordingPeer()),
            CannotConnect,
        )
        self.assertEqual(self.heard.frames, [])
        return str(error)

    def fingerprint(self, secured: Secured) -> str:
        text = secured.certificate.read_text()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()

    async def test_the_authority_in_the_file_is_believed_and_no_other(self) -> None:
        await self.connect(self.secured.trust)
        self.heard.frames.clear()
        self.assertIn("certificate verify failed", await self.refused(self.other.trust))
        self.assertIn("certificate verify failed", await self.refused(SYSTEM))

    async def test_a_certificate_for_another_name_is_not_believed(self) -> None:
        self.assertTrue(await self.refused(self.secured.trust, "farm.example"))

    async def test_the_fingerprint_decides_whatever_the_name(self) -> None:
        digest = self.fingerprint(self.secured)
        await self.connect(Trust(fingerprint=digest))
        await self.connect(Trust(fingerprint=digest.upper()), "farm.example")
        self.heard.frames.clear()
        for wrong in (self.fingerprint(self.other), "0" * 64):
            self.assertTrue(await self.refused(Trust(fingerprint=wrong)))


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "c.pem", self.folder / "k.pem"
        make_certificate(self.certificate, self.key, ["farm.example", "::1"])

    def wrong(self) -> str:
        with self.assertRaises(BadCertificate) as caught:
            listener_options(self.certificate, self.key)
        return str(caught.exception)

    def test_the_key_is_for_its_owner_and_of_a_cheap_kind(self) -> None:
        self.assertEqual(stat.S_IMODE(self.key.stat().st_mode), 0o600)
        loaded = crypto.load_certificate(crypto.FILETYPE_PEM, self.certificate.read_bytes())
        self.assertEqual(loaded.get_pubkey().type(), crypto.TYPE_EC)
        self.assertEqual(loaded.get_pubkey().bits(), 256)
        listener_options(self.certificate, self.key)

    def test_a_key_of_another_certificate_is_named(self) -> None:
        other = self.folder / "other.pem"
        make_certificate(other, self.key, ["x"])
        self.assertIn("is not the key of", self.wrong())

    def test_files_that_are_missing_or_something_else_are_named(self) -> None:
        self.key.write_text("no key")
        self.assertIn("k.pem holds no private key", self.wrong())
        self.key.unlink()
        self.assertIn("k.pem cannot be read", self.wrong())
        self.certificate.write_text("no certificate")
        self.assertIn("c.pem holds no certificate", self.wrong())
        damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.certificate.write_text(damaged)
        self.assertIn("c.pem is damaged", self.wrong())

    def test_fingerprints_are_taken_as_tools_write_them(self) -> None:
        self.assertEqual(fingerprint_of(":".join(["AB"] * 32) + "\n"), "ab" * 32)
        for text in ("", "ab" * 31, "ab" * 33, "zz" * 32):
            with self.assertRaises(BadCertificate):
                fingerprint_of(text)
