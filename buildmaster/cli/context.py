"""What a command works with: the reactor, the console, and a farm to ask."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from buildmaster.addresses import FILE as ADDRESSES
from buildmaster.cli.console import Console
from buildmaster.cli.data_folder import CERTIFICATE, DEFAULT_HTTP, default_data_folder
from buildmaster.cli.problems import CommandFailed
from buildmaster.client.http import Client
from protocol.trust import Trust


class Interrupts:
    """Ctrl-C and its like, as calls of ``handler`` in the reactor's thread."""

    def __init__(self, reactor: Any, handler: Callable[[], None]) -> None:
        self.handler = handler
        self._reactor = reactor

    def listen(self) -> None:
        """Take over from the reactor, which would just stop."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # What a parent chose to ignore, as nohup does, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._handle)

    def _handle(self) -> None:
        self.handler()


@dataclass
class Context:
    """Handed to every command that needs the reactor."""

    reactor: Any
    console: Console
    environ: Mapping[str, str]
    interrupts: Interrupts

    def client(self) -> Client:
        """A client of the farm that `find_farm` finds."""
        url, token = find_farm(self.environ)
        return Client(self.reactor, url, token, find_trust(self.environ, url))


def find_farm(environ: Mapping[str, str]) -> tuple[str, str | None]:
    """The address of the farm to ask, and the token for it, if one is known."""
    own_url, own_token = _farm_of(default_data_folder(environ))
    url = environ.get("HEADRACE_URL") or own_url or f"http://{DEFAULT_HTTP}"
    token = _named_token(environ)
    if token is None and own_url is not None and url.rstrip("/") == own_url:
        token = own_token
    return url, token


def find_trust(environ: Mapping[str, str], url: str) -> Trust:
    """By what the farm at ``url`` is known to be the one that it says."""
    ca_file = environ.get("HEADRACE_CA_FILE") or None
    fingerprint = environ.get("HEADRACE_FINGERPRINT") or None
    folder = default_data_folder(environ)
    own_url, _ = _farm_of(folder)
    if not ca_file and not fingerprint and own_url and url.rstrip("/") == own_url:
        own = folder / CERTIFICATE
        ca_file = str(own) if own.exists() else None
    return Trust(ca_file, fingerprint)


def _named_token(environ: Mapping[str, str]) -> str | None:
    if environ.get("HEADRACE_TOKEN"):
        return environ["HEADRACE_TOKEN"].strip()
    path = environ.get("HEADRACE_TOKEN_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(
            f"The token file {path} (HEADRACE_TOKEN_FILE) cannot be read: {error}."
        ) from error


def _farm_of(folder: Path) -> tuple[str | None, str | None]:
    try:
        url = str(json.loads((folder / ADDRESSES).read_text())["http"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
    try:
        return url, (folder / "token").read_text().strip()
    except OSError:
        return url, None
