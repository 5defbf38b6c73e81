"""Puts the entrance for people together, as the settings have it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from buildmaster.database import Database
from buildmaster.people.entrance import Entrance
from buildmaster.people.htpasswd import Htpasswd, read_htpasswd
from buildmaster.people.provider import Provider
from buildmaster.people.proxy import ProxyPeople
from buildmaster.people.roles import RoleEntry
from buildmaster.people.settings import People, mistakes
from buildmaster.people.stays import Stays
from buildmaster.people.watched import BadFile, Watched

T = TypeVar("T")


def open_entrance(
    people: People,
    database: Database,
    folder: Path,
    *,
    is_secure: bool,
    settings: Path | None = None,
) -> Entrance:
    """The entrance; files are relative to ``folder``. `BadFile` names one that is none.

    ``settings`` is the file that ``people`` came from. Its roles count as they stand there
    now; should it be broken, those count that stood there last.
    """
    htpasswd = None
    if people.htpasswd is not None:
        path = folder / people.htpasswd
        _readable("people.htpasswd", path, read_htpasswd)
        htpasswd = Htpasswd(path)
    proxy = None
    if people.proxy is not None:
        secret = None
        if people.proxy.secret_file is not None:
            secret = _secret("people.proxy.secret_file", folder / people.proxy.secret_file)
        proxy = ProxyPeople(people.proxy, secret)
    return Entrance(
        Stays(database, people.stay),
        _roles(people, settings),
        htpasswd=htpasswd,
        proxy=proxy,
        is_secure=is_secure,
    )


def open_provider(people: People, folder: Path, reactor: Any) -> Provider | None:
    """The provider that the settings name, if any; files are relative to ``folder``.

    `BadFile` if there is no secret.
    """
    if people.oidc is None:
        return None
    path = folder / people.oidc.client_secret_file
    secret = _secret("people.oidc.client_secret_file", path)
    return Provider(people.oidc, secret, reactor, time.time)


def _secret(setting: str, path: Path) -> str:
    secret = _readable(setting, path, lambda path: path.read_text("utf-8").strip())
    if not secret:
        raise BadFile(f"{setting}: {path} is empty, and should have a secret")
    return secret


def _readable(setting: str, path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except (BadFile, OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{setting}: {path} cannot be taken: {error}") from error


def _roles(people: People, settings: Path | None) -> Callable[[], Sequence[RoleEntry]]:
    if settings is None:
        return lambda: people.roles
    given: Sequence[RoleEntry] = people.roles
    return Watched(settings, read_roles, given, keeps=True).now


def read_roles(settings: Path) -> Sequence[RoleEntry]:
    """The roles that stand in a settings file; `BadFile`."""
    try:
        told: Any = yaml.load(settings.read_text("utf-8"), yaml.CSafeLoader)
        if isinstance(told, dict) and told.get("people") is None:
            return ()  # Nobody has a role any more.
        people = msgspec.convert(told["people"], People)
    except (yaml.YAMLError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise BadFile(f"the roles stay as they were: {error}") from error
    for mistake in mistakes(people):
        raise BadFile(f"the roles stay as they were: {mistake}")
    return people.roles
