"""Tokens: the farm's own, and those that let one attempt store its files.

The farm's token lies in the data folder, readable by its owner alone. Tokens of attempts
are not stored: each is made from the job, the attempt and a secret, and checked so.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

#: Random bytes of a token.
ENTROPY = 32

_ATTEMPT = re.compile(r"attempt\.([1-9][0-9]{0,18})\.([1-9][0-9]{0,9})\.([0-9a-f]{64})\Z")
_FILE = re.compile(r"file\.([0-9a-f]{64})\.([0-9a-f]{64})\Z")


class UnsafeTokenFile(Exception):
    """Others than its owner can read a file with a secret; the operator's to mend."""


@dataclass(frozen=True)
class FarmGrant:
    """The bearer may do everything."""


@dataclass(frozen=True)
class AttemptGrant:
    """The bearer may read and store files, while this attempt is the current one."""

    job: int
    attempt: int


@dataclass(frozen=True)
class FileGrant:
    """The bearer, another master, may fetch this one file."""

    sha256: str


class Tokens:
    """The tokens of one farm."""

    def __init__(self, farm_token: str, secret: bytes) -> None:
        self.farm_token = farm_token
        self._secret = secret

    @classmethod
    def load(cls, folder: Path) -> Tokens:
        """The tokens kept in ``folder``, made if there are none; `UnsafeTokenFile`."""
        farm_token = _kept(folder / "token")
        return cls(farm_token, bytes.fromhex(_kept(folder / "attempt-secret")))

    @property
    def attempt_secret(self) -> str:
        """What makes the tokens of attempts."""
        return self._secret.hex()

    def with_attempt_secret(self, secret: str) -> Tokens:
        """The same, but with another secret for the tokens of attempts."""
        return Tokens(self.farm_token, bytes.fromhex(secret))

    def attempt_token(self, job: int, attempt: int) -> str:
        """The token of an attempt."""
        return f"attempt.{job}.{attempt}.{self._signature(job, attempt)}"

    def file_token(self, sha256: str) -> str:
        """What one master shows to another to fetch this file."""
        return f"file.{sha256}.{self._sign(f'file.{sha256}')}"

    def check(self, token: str) -> FarmGrant | AttemptGrant | FileGrant | None:
        """What ``token`` permits, None if it is nobody's; takes the same time for each."""
        if hmac.compare_digest(
            token.encode("utf-8", "surrogatepass"), self.farm_token.encode()
        ):
            return FarmGrant()
        found = _FILE.match(token)
        if found is not None:
            is_good = hmac.compare_digest(found[2], self._sign(f"file.{found[1]}"))
            return FileGrant(found[1]) if is_good else None
        found = _ATTEMPT.match(token)
        if found is None:
            return None
        job, attempt = int(found[1]), int(found[2])
        if not hmac.compare_digest(found[3], self._signature(job, attempt)):
            return None
        return AttemptGrant(job, attempt)

    def _signature(self, job: int, attempt: int) -> str:
        return self._sign(f"attempt.{job}.{attempt}")

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def token_hash(token: str) -> bytes:
    """The sha256 that the farm keeps of a worker's or a client's token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _kept(path: Path) -> str:
    """The secret in ``path``, made there if it is missing."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    secret = secrets.token_hex(ENTROPY)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    return secret


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise UnsafeTokenFile(
                f"{path} holds a secret, and its mode {mode:04o} lets others read it: "
                f"chmod 600 it, and make a new one if somebody may have read it"
            )
        secret = file.read().strip()
    if len(secret) < ENTROPY:
        raise UnsafeTokenFile(f"{path} holds no token: remove it, and a new one is made")
    return secret
