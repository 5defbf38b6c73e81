"""Takes signed messages of other services, and makes signals of them.

A message has the HMAC-SHA256 of its body, with the secret of its webhook, in the header
``X-Hub-Signature-256`` (or ``X-Headrace-Signature``) as ``sha256=HEX``. What it means say
the workflow classes: their ``@webhook`` functions make signals of it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from twisted.logger import Logger

from buildmaster.orchestration.control import Control
from buildmaster.orchestration.threads import Threads, TookTooLong
from buildmaster.requests import Refusal
from buildmaster.workflow.definition import Delivery

SIGNATURES = ("X-Hub-Signature-256", "X-Headrace-Signature")
#: By which a repeated message is known, unless the mapping says it.
DELIVERIES = ("X-Headrace-Delivery", "X-GitHub-Delivery")
#: Signals of one message, and the seconds that a mapping has.
MOST = 100
PATIENCE = 2.0
#: Bytes of a secret, at least.
SHORTEST_SECRET = 16


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a message."""

    sent: int  #: signals, those included that were sent before
    unknown: tuple[str, ...]  #: workflows that are not here


class Webhooks:
    """The webhooks of a farm. `take` raises `Refusal`."""

    log = Logger()

    def __init__(
        self, control: Control, threads: Threads, secrets: Mapping[str, bytes]
    ) -> None:
        self._control = control
        self._threads = threads
        self._secrets = dict(secrets)

    async def take(
        self, hook: str, body: bytes, header: Callable[[str], str | None]
    ) -> Taken:
        """Send the signals that a message means; it may be repeated."""
        self._check(hook, body, header)
        try:
            message = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refusal(400, "bad_json", f"The message is not JSON: {error}.") from error
        sent, unknown = 0, []
        own = next((found for name in DELIVERIES if (found := header(name))), None)
        for number, delivery in enumerate(await self._deliveries(hook, message)):
            key = delivery.id or (f"{own} {number}" if own else None)
            try:
                await self._control.signal(
                    delivery.workflow,
                    delivery.signal,
                    delivery.arguments,
                    f"webhook {hook}",
                    None if key is None else f"{hook} {key}"[:900],
                )
                sent += 1
            except Refusal as error:
                if error.status != 404:
                    raise
                unknown.append(delivery.workflow)
        return Taken(sent=sent, unknown=tuple(unknown))

    def _check(self, hook: str, body: bytes, header: Callable[[str], str | None]) -> None:
        secret = self._secrets.get(hook)
        given = next((found for name in SIGNATURES if (found := header(name))), "")
        # The same work, and the same answer, where there is no such webhook.
        right = hmac.new(secret or b"none", body, hashlib.sha256).hexdigest()
        is_signed = hmac.compare_digest(
            f"sha256={right}".encode(), given.strip().encode("utf-8", "replace")
        )
        if secret is None or not is_signed:
            raise Refusal(
                401,
                "bad_signature",
                "There is no webhook of this name, or its signature is not of its secret:"
                " see webhooks in the master's settings.",
            )

    async def _deliveries(self, hook: str, message: Any) -> list[Delivery]:
        found: list[Delivery] = []
        for mapping in self._control.classes.webhooks(hook):
            try:
                made = await self._threads.run(partial(_mapped, mapping, message), PATIENCE)
            except (Exception, TookTooLong) as error:
                self.log.failure("the mapping of webhook {hook} failed", hook=hook)
                raise Refusal(
                    422, "bad_message", "The workflow cannot read this message."
                ) from error
            found += [each for each in made if isinstance(each, Delivery)]
        return found[:MOST]


def _mapped(mapping: Callable[[Any], Any], message: Any) -> list[Any]:
    return list(mapping(message) or ())


class BadSecret(Exception):
    """A webhook's secret cannot be had: the operator's to mend."""


def secrets(folder: Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """What the files of webhooks' secrets hold; `BadSecret`."""
    found = {}
    for name, file in files.items():
        try:
            secret = (folder / file).read_bytes().strip()
        except OSError as error:
            raise BadSecret(f"webhooks.{name}: {error}") from error
        if len(secret) < SHORTEST_SECRET:
            raise BadSecret(
                f"webhooks.{name}: the secret in {file} has less than {SHORTEST_SECRET}"
                f" bytes"
            )
        found[name] = secret
    return found
