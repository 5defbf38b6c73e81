"""TLS as both daemons use it: whose certificate a listener shows, and who is believed.

A listener shows the operator's certificate, or one that `make_certificate` wrote for a
farm of one's own. Who connects believes what its system does, or else the authorities in
one file, or else one certificate alone, known by its fingerprint.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from zope.interface import implementer

from protocol.trust import BadCertificate, Trust, fingerprint_of

_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL
)
_PEM = 1  # OpenSSL's number for it
#: Days that a certificate of a farm of one's own is good for.
_DAYS = 3650


def listener_options(certificate: Path, key: Path) -> CertificateOptions:
    """What a listener with these PEM files uses; `BadCertificate`.

    ``certificate`` may go on with the certificates of its authorities.
    """
    chain = _certificates(certificate)
    try:
        private = KeyPair.load(key.read_bytes(), _PEM)
    except OSError as error:
        raise BadCertificate(f"the key {key} cannot be read: {error.strerror}") from error
    except Exception as error:
        raise BadCertificate(f"{key} holds no private key as PEM") from error
    options = CertificateOptions(
        privateKey=private.original,
        certificate=chain[0].original,
        extraCertChain=[each.original for each in chain[1:]],
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )
    try:
        options.getContext().check_privatekey()
    except SSL.Error as error:
        raise BadCertificate(f"{key} is not the key of {certificate}") from error
    return options


def client_options(host: str, trust: Trust) -> Any:
    """What somebody uses who connects to ``host`` and believes ``trust``."""
    if trust.fingerprint is not None:
        return _Pinned(host, fingerprint_of(trust.fingerprint))
    if trust.ca_file is not None:
        roots = trustRootFromCertificates(_certificates(Path(trust.ca_file)))
        return optionsForClientTLS(host, trustRoot=roots)
    return optionsForClientTLS(host)


def fingerprint_in(certificate: Path) -> str:
    """The SHA-256 of the certificate in this PEM file, as `Trust` has it."""
    digest: str = _certificates(certificate)[0].original.digest("sha256").decode()
    return fingerprint_of(digest)


def make_certificate(certificate: Path, key: Path, names: Sequence[str]) -> None:
    """Write a key (mode 0600) and a certificate for ``names`` that signs itself.

    ECDSA on P-256: a handshake costs the master a third of what one of RSA does.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "headrace")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    _write(
        key,
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        0o600,
    )
    _write(certificate, built.public_bytes(Encoding.PEM), 0o644)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes, mode: int) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.replace(unfinished, path)


def _certificates(path: Path) -> list[Certificate]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadCertificate(
            f"the certificate {path} cannot be read: {error.strerror}"
        ) from error
    try:
        found = [Certificate.loadPEM(each) for each in _CERTIFICATE.findall(text)]
    except Exception as error:
        raise BadCertificate(f"a certificate in {path} is damaged") from error
    if not found:
        raise BadCertificate(f"{path} holds no certificate as PEM")
    return found


@implementer(IOpenSSLClientConnectionCreator)
class _Pinned:
    """Believes the one certificate with that fingerprint, whatever its name or age."""

    def __init__(self, host: str, fingerprint: str) -> None:
        self._host = host
        self._fingerprint = fingerprint
        self._context = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
        self._context.set_verify(SSL.VERIFY_PEER, self._verify)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N803
        """A connection that fails in its handshake with anybody else."""
        connection = SSL.Connection(self._context, None)
        if isinstance(_name(self._host), x509.DNSName):
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection

    def _verify(
        self, connection: object, certificate: Any, error: int, depth: int, ok: int
    ) -> bool:
        # What signed it is of no interest.
        digest = certificate.digest("sha256").decode().replace(":", "").lower()
        return depth > 0 or digest == self._fingerprint
