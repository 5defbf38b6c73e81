"""Whom somebody believes who connects over TLS: values only, no TLS."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")


class BadCertificate(Exception):
    """A file or a value of TLS is not what it should be; the operator's to mend."""


@dataclass(frozen=True)
class Trust:
    """Which listeners are believed to be who they say; without both, the system's."""

    ca_file: str | None = None  #: authorities, or the certificate itself, as PEM
    fingerprint: str | None = None  #: SHA-256 of the listener's certificate


#: Believe what the system does.
SYSTEM = Trust()


def fingerprint_of(text: str) -> str:
    """``text``, a SHA-256 as tools write it, as 64 small hexadecimal digits.

    `BadCertificate` if it is none.
    """
    plain = text.replace(":", "").strip().lower()
    if not _FINGERPRINT.match(plain):
        raise BadCertificate(
            f"{text!r} is no fingerprint: it is the SHA-256 of a certificate, 64"
            " hexadecimal digits (openssl x509 -in FILE -noout -fingerprint -sha256)"
        )
    return plain
