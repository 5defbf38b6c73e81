"""Handlers that send people to a provider, and take them in when they come back."""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import replace

from twisted.logger import Logger

from buildmaster.acts import Acts
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.login import enter, following
from buildmaster.http.login_page import failure_page
from buildmaster.http.problems import Problem
from buildmaster.knocks import Knocks
from buildmaster.people.entrance import Entrance, one_cookie
from buildmaster.people.errand import LASTS, Errand, Errands
from buildmaster.people.id_token import BadIdToken
from buildmaster.people.provider import Provider, ProviderFault, Unwelcome

CALLBACK = "/login/oidc/callback"

_WORD = re.compile(r"[a-z_]{1,60}\Z")
_LONGEST_CODE = 4096
_STRANGE = (
    "This login was not begun in this browser, or too long ago. Nobody was logged in;"
    " begin again."
)


class Failure(Exception):
    """Nobody is logged in; ``sentence`` is for them, ``code`` for the audit."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


class OidcLogins:
    """Without ``provider`` there is nothing here."""

    log = Logger()

    def __init__(
        self,
        entrance: Entrance | None,
        provider: Provider | None,
        errands: Errands,
        acts: Acts,
        knocks: Knocks,
        base: str | None,
    ) -> None:
        """``knocks`` counts failures by address; ``base`` is the farm's address, if set."""
        self._entrance = entrance
        self._provider = provider
        self._errands = errands
        self._acts = acts
        self._knocks = knocks
        self._base = base

    def _there(self) -> tuple[Entrance, Provider]:
        if self._entrance is None or self._provider is None:
            raise Problem(404, "not_found", "nobody comes from a provider here")
        return self._entrance, self._provider

    async def leave(self, call: Call) -> Answer:
        """GET /login/oidc: off to the provider"""
        entrance, provider = self._there()
        call.query.allow("next")
        errand = self._errands.begin(following(call.query.text("next")), time.time())
        try:
            where = await provider.way_there(errand, self._callback(entrance, call))
        except ProviderFault as error:
            return failure_page(502, _theirs(error), errand.following)
        return Answer(
            303,
            headers={
                "Location": where,
                "Set-Cookie": _cookie_line(entrance, errand.cookie, LASTS),
                "Cache-Control": "no-store",
            },
        )

    async def come_back(self, call: Call) -> Answer:
        """GET /login/oidc/callback: from the provider, with a code"""
        entrance, provider = self._there()
        goes_to = "/"
        try:
            errand = self._errand(entrance, call)
            goes_to = errand.following
            answer = await self._enter(entrance, provider, call, errand)
        except Failure as failure:
            answer = failure_page(failure.status, failure.sentence, goes_to)
            if failure.status != 429:
                await self._note(call, failure)
        # Once is enough: what was begun is over.
        over = _cookie_line(entrance, "", 0)
        headers = dict(answer.headers)
        cookies = [over, *filter(None, [headers.pop("Set-Cookie", None)])]
        return replace(answer, headers=headers, cookies=tuple(cookies))

    async def _note(self, call: Call, failure: Failure) -> None:
        address = call.head.address
        self._knocks.note_failure(address)
        await self._acts.note(
            "login",
            "nobody",
            address,
            failure.code,
            failure.status,
            by="oidc",
            **call.facts,
        )

    def _errand(self, entrance: Entrance, call: Call) -> Errand:
        if self._knocks.are_too_many(call.head.address):
            raise Failure(
                429, "too_many_tries", "Too many logins failed from here: wait a minute."
            )
        cookie = one_cookie(call.head.headers, _cookie_name(entrance))
        errand = self._errands.find(cookie, time.time())
        state = call.query.text("state") or ""
        if errand is None or not hmac.compare_digest(
            state.encode("utf-8", "surrogatepass"), errand.state.encode()
        ):
            raise Failure(400, "strange_state", _STRANGE)
        return errand

    async def _enter(
        self, entrance: Entrance, provider: Provider, call: Call, errand: Errand
    ) -> Answer:
        issuer = call.query.text("iss")
        if issuer is not None and issuer != provider.settings.issuer:
            raise Failure(400, "other_issuer", _STRANGE)
        if (error := call.query.text("error")) is not None:
            word = error if _WORD.match(error) else "no reason that can be shown"
            raise Failure(403, "refused", f"The provider let nobody in: {word}.")
        code = call.query.text("code") or ""
        if not 0 < len(code) <= _LONGEST_CODE:
            raise Failure(400, "no_code", "The provider sent no code with the browser.")
        callback = self._callback(entrance, call)
        try:
            person = await provider.person(code, errand, callback)
        except ProviderFault as fault:
            raise Failure(502, "provider", _theirs(fault)) from fault
        except BadIdToken as bad:
            self.log.warn("an ID token was refused: {why}", why=bad)
            raise Failure(
                502,
                "bad_token",
                f"The provider's answer cannot be trusted: {bad}. Whoever runs the"
                " provider, or this farm, has to mend that.",
            ) from bad
        except Unwelcome as error:
            raise Failure(
                403, "unwelcome", f"You cannot be let in: {error}. Ask who runs this farm."
            ) from error
        return await enter(entrance, self._acts, call, person, errand.following)

    def _callback(self, entrance: Entrance, call: Call) -> str:
        """Where the provider sends the browser back to; as registered with it."""
        if self._base is not None:
            return f"{self._base.rstrip('/')}{CALLBACK}"
        scheme = "https" if entrance.is_secure else "http"
        # The guard has made sure that it is a name of this farm.
        return f"{scheme}://{call.head.header('Host')}{CALLBACK}"


def _theirs(error: ProviderFault) -> str:
    return f"Nobody can be logged in just now: {error}. It is the provider that fails."


def _cookie_name(entrance: Entrance) -> str:
    return f"{entrance.cookie_name}-login"


def _cookie_line(entrance: Entrance, value: str, seconds: int) -> str:
    secure = "; Secure" if entrance.is_secure else ""
    # Lax: it has to come along when the provider sends the browser back.
    return (
        f"{_cookie_name(entrance)}={value}; Path=/; Max-Age={seconds}; HttpOnly;"
        f" SameSite=Lax{secure}"
    )
