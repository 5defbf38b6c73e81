"""A farm's site where people come in, with their passwords and roles in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bcrypt

from buildmaster.acts import Acts
from buildmaster.admission import Admission
from buildmaster.clients import Clients
from buildmaster.operations import Operations
from buildmaster.people.entrance import Entrance
from buildmaster.people.htpasswd import Htpasswd
from buildmaster.people.proxy import ProxyPeople
from buildmaster.people.roles import RoleEntry
from buildmaster.people.stays import Stays
from tests.buildmaster.http.farm_site import SiteCase

TEAM = "https://example.com/team"
OTHER = "https://example.com/other"


def cheap_line(name: str, password: str) -> str:
    """A line of an htpasswd file that is quick to check."""
    return f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"


class PeopleCase(SiteCase):
    """``self.roles`` are the roles, and may be changed at any time."""

    open_reading = False
    is_secure = False
    proxy: ProxyPeople | None = None

    def more(self) -> dict[str, Any]:
        folder = Path(self.mktemp_folder())
        self.passwords = folder / "htpasswd"
        self.passwords.write_text(cheap_line("ada", "lace") + cheap_line("bob", "sponge"))
        self.roles: list[RoleEntry] = []
        self.stays = Stays(self.database, 3600.0)
        self.clients = Clients(self.database)
        self.admission = Admission(self.database)
        self.entrance = Entrance(
            self.stays,
            lambda: self.roles,
            htpasswd=Htpasswd(self.passwords),
            proxy=self.proxy,
            is_secure=self.is_secure,
        )
        return {
            "entrance": self.entrance,
            "clients": self.clients,
            "admission": self.admission,
            "operations": Operations(self.database),
            "acts": Acts(self.database),
            "open_reading": self.open_reading,
            **self.yet_more(),
        }

    def yet_more(self) -> dict[str, Any]:
        return {}

    async def form(self, path: str, fields: dict[str, str], **headers: str) -> Any:
        """The answer to a form, sent as the farm's own page does."""
        given = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": self.url,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        given = {name: value for name, value in given.items() if value != "-"}
        body = urlencode(fields).encode()
        return await self.ask("POST", path, data=body, headers=given)

    async def log_in(self, name: str = "ada", password: str = "lace") -> dict[str, str]:
        """The headers that a browser sends from now on."""
        response = await self.form("/login", {"user": name, "password": password})
        self.assertEqual(response.code, 303, await response.text())
        return {"Cookie": cookie_of(response)}

    async def writing(self, name: str = "ada", password: str = "lace") -> dict[str, str]:
        """The same, for what changes something."""
        return {**await self.log_in(name, password), "Origin": self.url}

    async def code(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        """Status and, of a problem, the code."""
        response = await self.ask(method, path, **more)
        text = await response.text()
        if response.code < 400:
            return int(response.code), ""
        return int(response.code), str((await response.json())["code"] if text else "")

    async def me(self, headers: dict[str, str] | None = None) -> dict[str, Any]:
        response = await self.ask("GET", "/api/v1/me", headers=headers or {})
        self.assertEqual(response.code, 200)
        told: dict[str, Any] = await response.json()
        return told

    async def acts(self) -> list[tuple[Any, ...]]:
        """What the audit has: act, who, outcome; oldest first."""
        rows: list[tuple[Any, ...]] = await self.database.rows(
            "SELECT act, who, outcome FROM act ORDER BY id"
        )
        return rows


def cookie_of(response: Any) -> str:
    """NAME=VALUE of the cookie that an answer sets."""
    [line] = response.headers.getRawHeaders("Set-Cookie")
    return str(line.partition(";")[0])
