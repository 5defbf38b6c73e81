"""Handlers with which people come and go: the page, its form, and the way out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

from buildmaster.acts import Acts
from buildmaster.http.answers import Answer
from buildmaster.http.call import BodyInMemory, Call
from buildmaster.http.login_page import login_page
from buildmaster.http.me import Door
from buildmaster.http.problems import Problem, bad_request
from buildmaster.http.writing import Writing
from buildmaster.knocks import Knocks, network_of
from buildmaster.people.entrance import Entrance
from buildmaster.people.htpasswd import TooManyLogins
from buildmaster.people.person import Person, is_name, shown
from buildmaster.requests import Text

_WRONG = "This name and this password do not go together."
_OFTEN = "Too many tries failed, from where you are or with this name: wait a minute."
#: Bytes of a form.
_FORM_LIMIT = 16 * 1024
#: A path of this farm: no browser takes it for another address.
_HERE = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*\Z")
_LONGEST_NEXT = 2000


class Ending(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose stays end."""

    who: Text


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    who: str
    ended: int  #: stays


class Logins:
    """Lets people in and out. ``entrance`` is None where no people come."""

    def __init__(
        self,
        entrance: Entrance | None,
        acts: Acts,
        knocks: Knocks | None = None,
        names: Knocks | None = None,
        label: str | None = None,
    ) -> None:
        """``knocks`` counts failures by address, ``names`` by the name that was given.

        ``label`` is what the way to a provider is called, if there is one.
        """
        self._label = label
        self._entrance = entrance
        self._acts = acts
        self._knocks = knocks or Knocks(key=network_of, what="log in")
        self._names = names or Knocks(key=str, what="log in", burst=30)

    @property
    def doors(self) -> tuple[Door, ...]:
        """How people can log in."""
        doors: list[Door] = []
        if self._entrance is None:
            return ()
        if self._entrance.htpasswd is not None:
            label = "Log in with a password"
            doors.append(Door(kind="htpasswd", url="/login", label=label))
        if self._label is not None:
            doors.append(Door(kind="oidc", url="/login/oidc", label=self._label))
        return tuple(doors)

    async def page(self, call: Call) -> Answer:
        """GET /login"""
        call.query.allow("next")
        return login_page(self.doors, following(call.query.text("next")))

    async def log_in(self, call: Call) -> Answer:
        """POST /login: a form with user, password and next"""
        call.query.allow()
        form = _form(call)
        goes_to = following(form.get("next"))
        entrance = self._entrance
        if entrance is None or entrance.htpasswd is None:
            raise Problem(404, "not_found", "nobody logs in with a password here")
        if call.head.header("Origin") is None:
            # Else another site could make somebody go on as somebody else.
            raise Problem(403, "no_origin", "a browser says where its form comes from")
        name, password = form.get("user", "").strip(), form.get("password", "")
        address = call.head.address
        if self._knocks.are_too_many(address) or self._names.are_too_many(name[:300]):
            return self._refused(goes_to, name, 429, _OFTEN)
        person = None
        try:
            person = await entrance.htpasswd.person(name, password)
        except TooManyLogins as error:
            raise Problem(
                503, "not_now", str(error), headers={"Retry-After": "5"}
            ) from error
        if person is None:
            self._knocks.note_failure(address)
            self._names.note_failure(name[:300])
            who = "nobody" if call.grant is None else call.grant.who
            await self._acts.note(
                "login",
                who,
                address,
                "wrong_password",
                401,
                name=shown(name),
                by="htpasswd",
            )
            return self._refused(goes_to, name, 401, _WRONG)
        return await enter(entrance, self._acts, call, person, goes_to)

    def _refused(self, goes_to: str, name: str, status: int, why: str) -> Answer:
        headers = {"Retry-After": "60"} if status == 429 else {}
        user = name if is_name(name) else ""
        return login_page(self.doors, goes_to, why, user, status=str(status), **headers)

    async def log_out(self, call: Call) -> Answer:
        """POST /logout: the stay ends, here and at every master"""
        call.query.allow()
        headers = {"Cache-Control": "no-store"}
        entrance = self._entrance
        if entrance is not None:
            cookie = entrance.cookie(call.head.headers)
            if cookie is not None:
                await entrance.stays.end(cookie)
            headers["Set-Cookie"] = cookie_line(entrance, "", 0)
        if "text/html" in (call.head.header("Accept") or ""):
            return Answer(303, headers={**headers, "Location": "/login"})
        return Answer(204, headers=headers)

    async def end_all_of(self, call: Call) -> Answer:
        """POST /api/v1/stays/end: who is named has to log in again"""
        call.query.allow()
        name = call.json(Ending).who
        call.facts["name"] = shown(name)
        ended = 0
        if self._entrance is not None:
            ended = await self._entrance.stays.end_all_of(name)
        call.facts["ended"] = ended
        return Answer(body=msgspec.json.encode(Ended(who=name, ended=ended)))


async def enter(
    entrance: Entrance, acts: Acts, call: Call, person: Person, goes_to: str
) -> Answer:
    """Let ``person`` stay, with a cookie that nobody had before, and send them on."""
    act = await acts.begin("login", person.who, call.head.address)
    earlier = entrance.cookie(call.head.headers)
    cookie = await entrance.stays.begin(person, call.head.address)
    if earlier is not None:
        await entrance.stays.end(earlier)
    facts = {"name": person.name, "by": person.way, "groups": person.groups}
    await acts.complete(act, "done", 303, facts)
    return Answer(
        303,
        headers={
            "Location": goes_to,
            "Set-Cookie": cookie_line(entrance, cookie, entrance.stays.seconds),
            "Cache-Control": "no-store",
        },
    )


def cookie_line(entrance: Entrance, value: str, seconds: float) -> str:
    """What sets the cookie of a stay; scripts cannot read it, other sites not use it."""
    secure = "; Secure" if entrance.is_secure else ""
    return (
        f"{entrance.cookie_name}={value}; Path=/; Max-Age={int(seconds)}; HttpOnly;"
        f" SameSite=Lax{secure}"
    )


def following(given: str | None) -> str:
    """Where to go after a login; `Problem` for any place but one of this farm."""
    if given is None or given == "":
        return "/"
    if len(given) > _LONGEST_NEXT or not _HERE.match(given) or "//" in given:
        raise bad_request("bad_next", "'next' is a path of this farm, as /#/jobs")
    return given


def _form(call: Call) -> Mapping[str, str]:
    assert isinstance(call.body, BodyInMemory)
    data = bytes(call.body.data)
    if len(data) > _FORM_LIMIT:
        raise Problem(413, "too_large", f"a form here has {_FORM_LIMIT} bytes at most")
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=10
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise bad_request("bad_form", "the form cannot be read") from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise bad_request("bad_form", "the form has a field twice")
    return dict(pairs)


WRITINGS = (
    Writing(
        "/api/v1/stays/end",
        "end_stays",
        "Somebody who is logged in has to log in again.",
        Ending,
        {200: Ended},
    ),
)
