"""An OpenID provider: where it wants to be asked, which keys it has, whom it knows.

Each request has an end in time and in bytes, and follows no redirection: a provider that
is slow, huge or elsewhere is a login that fails, and nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import treq
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.error import ConnectError
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from buildmaster.client.body import Body
from buildmaster.people.errand import Errand
from buildmaster.people.id_token import UnknownKey, checked_claims
from buildmaster.people.person import MOST_GROUPS, Person, is_name, shown
from buildmaster.people.settings import Oidc

#: Seconds that an answer may take, and bytes that it may have.
PATIENCE, LARGEST = 10.0, 512 * 1024
#: Seconds for which what it says of itself is kept, and between two looks for new keys.
KEPT, BETWEEN = 3600.0, 5.0

T = TypeVar("T")


class ProviderFault(Exception):
    """The provider does not do what it should; the sentence says what."""


class Unwelcome(Exception):
    """The provider knows who it is, but they cannot be taken; the sentence says why."""


class _About(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Given(msgspec.Struct, frozen=True):
    id_token: str


class Provider:
    """One provider, as the settings name it."""

    log = Logger()

    def __init__(
        self,
        settings: Oidc,
        client_secret: str,
        reactor: Any,
        now: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        """``now`` is the time of day, as the provider has it, too."""
        self.settings = settings
        self._secret = client_secret
        self._reactor = reactor
        self._now = now
        self._patience = patience
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent(reactor, connectTimeout=patience, pool=pool)
        self._about: tuple[float, _About] | None = None
        self._keys: tuple[float, Sequence[Mapping[str, Any]]] | None = None
        self._turn = DeferredLock()

    @property
    def label(self) -> str:
        """What the way to it is called."""
        return self.settings.label

    async def way_there(self, errand: Errand, callback: str) -> str:
        """The address at the provider to which a browser is sent; `ProviderFault`."""
        about = await self._know()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": callback,
            "scope": " ".join(self.settings.scopes),
            "state": errand.state,
            "nonce": errand.nonce,
            "code_challenge": errand.challenge,
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in about.authorization_endpoint else "?"
        return f"{about.authorization_endpoint}{mark}{urlencode(query)}"

    async def person(self, code: str, errand: Errand, callback: str) -> Person:
        """Whom the provider means with ``code``.

        `ProviderFault`, `Unwelcome`, or `BadIdToken`.
        """
        token = await self._exchange(code, errand, callback)
        about = await self._know()
        keys = await self._known_keys(about)
        try:
            claims = self._check(token, keys, about, errand)
        except UnknownKey:
            claims = self._check(token, await self._fresh_keys(about), about, errand)
        return person_of(claims, self.settings)

    def _check(
        self, token: str, keys: Sequence[Mapping[str, Any]], about: _About, errand: Errand
    ) -> Mapping[str, Any]:
        return checked_claims(
            token,
            keys,
            issuer=about.issuer,
            client_id=self.settings.client_id,
            nonce=errand.nonce,
            now=self._now(),
        )

    async def _exchange(self, code: str, errand: Errand, callback: str) -> str:
        about = await self._know()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": errand.verifier,
        }
        headers = {"Accept": "application/json"}
        name, secret = self.settings.client_id, self._secret
        if "client_secret_basic" in about.token_endpoint_auth_methods_supported:
            pair = f"{quote(name, safe='')}:{quote(secret, safe='')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        else:
            form |= {"client_id": name, "client_secret": secret}
        given = await self._fetch("POST", about.token_endpoint, _Given, form, headers)
        return given.id_token

    async def _know(self) -> _About:
        """What the provider says of itself."""
        await self._turn.acquire()
        try:
            if self._about is None or self._now() - self._about[0] > KEPT:
                self._about = (self._now(), await self._ask_about())
            return self._about[1]
        finally:
            self._turn.release()

    async def _ask_about(self) -> _About:
        issuer = self.settings.issuer
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        about = await self._fetch("GET", address, _About)
        if about.issuer != issuer:
            raise ProviderFault("the provider says that it is another issuer")
        is_near = urlsplit(issuer).scheme == "http"
        for each in (about.authorization_endpoint, about.token_endpoint, about.jwks_uri):
            parts = urlsplit(each)
            if parts.scheme != "https" and not (is_near and parts.scheme == "http"):
                raise ProviderFault("the provider names an address without TLS")
        return about

    async def _known_keys(self, about: _About) -> Sequence[Mapping[str, Any]]:
        if self._keys is None or self._now() - self._keys[0] > KEPT:
            return await self._ask_keys(about)
        return self._keys[1]

    async def _fresh_keys(self, about: _About) -> Sequence[Mapping[str, Any]]:
        """The keys as they are now; as they were, if somebody looked just before."""
        if self._keys is not None and self._now() - self._keys[0] < BETWEEN:
            return self._keys[1]
        return await self._ask_keys(about)

    async def _ask_keys(self, about: _About) -> Sequence[Mapping[str, Any]]:
        found = await self._fetch("GET", about.jwks_uri, _Keys)
        self._keys = (self._now(), found.keys)
        return found.keys

    async def _fetch(
        self,
        method: str,
        address: str,
        kind: type[T],
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        asking = Deferred.fromCoroutine(self._ask(method, address, form, headers))
        asking.addTimeout(self._patience, self._reactor)
        try:
            status, body = await asking
            if status != 200:
                raise ProviderFault(f"the provider answered with the status {status}")
            return msgspec.json.decode(body, type=kind)
        except ProviderFault as error:
            self.log.warn("{address}: {error}", address=address, error=error)
            raise
        except msgspec.MsgspecError as error:
            self.log.warn("{address}: {error}", address=address, error=str(error)[:200])
            raise ProviderFault("the provider's answer is not what it should be") from error
        except CancelledError:
            raise
        except Exception as error:
            self.log.warn("{address}: {error}", address=address, error=repr(error)[:300])
            why = (
                "cannot be reached"
                if isinstance(error, ConnectError)
                else "does not answer"
            )
            raise ProviderFault(f"the provider {why}") from error

    async def _ask(
        self,
        method: str,
        address: str,
        form: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[int, bytes]:
        response = await treq.request(
            method,
            address,
            agent=self._agent,
            data=None if form is None else dict(form),
            headers=Headers({name: [value] for name, value in (headers or {}).items()}),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        text = bytearray()

        def take(data: bytes) -> None:
            text.extend(data)
            if len(text) > LARGEST:
                raise ProviderFault("the provider's answer is too long")

        body = Body(take, self._reactor, None)
        # Giving up closes the connection.
        response.deliverBody(body)
        await body.ended
        return int(response.code), bytes(text)


def person_of(claims: Mapping[str, Any], settings: Oidc) -> Person:
    """Who is meant by claims that were checked; `Unwelcome`."""
    name = claims.get(settings.name_claim)
    if not isinstance(name, str) or not is_name(name):
        raise Unwelcome(
            f"the provider gives no name that can be taken here ({settings.name_claim})"
        )
    if settings.name_claim == "email" and claims.get("email_verified") is not True:
        raise Unwelcome("the provider has not made sure that this e-mail address is theirs")
    display = claims.get(settings.display_claim)
    groups: object = (
        None if settings.groups_claim is None else claims.get(settings.groups_claim)
    )
    named = groups if isinstance(groups, list) else [groups]
    found = [
        each for each in named[:MOST_GROUPS] if isinstance(each, str) and is_name(each)
    ]
    return Person(
        name,
        "oidc",
        shown(display) if isinstance(display, str) and display else name,
        tuple(dict.fromkeys(found)),
    )
