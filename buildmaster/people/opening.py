"""Puts the entrance for people together, as the settings have it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from buildmaster.database import Database
from buildmaster.people.entrance import Entrance
from buildmaster.people.htpasswd import Htpasswd
from buildmaster.people.provider import Provider
from buildmaster.people.proxy import ProxyPeople
from buildmaster.people.roles import RoleEntry
from buildmaster.people.settings import People, mistakes
from buildmaster.people.stays import Stays
from buildmaster.people.watched import BadFile, Watched


def open_entrance(
    people: People,
    database: Database,
    folder: Path,
    *,
    is_secure: bool,
    settings: Path | None = None,
) -> Entrance:
    """The entrance; files are relative to ``folder``.

    ``settings`` is the file that ``people`` came from. Its roles count as they stand there
    now; should it be broken, those count that stood there last.
    """
    htpasswd = None if people.htpasswd is None else Htpasswd(folder / people.htpasswd)
    proxy = None
    if people.proxy is not None:
        secret = None
        if people.proxy.secret_file is not None:
            secret = (folder / people.proxy.secret_file).read_text().strip()
        proxy = ProxyPeople(people.proxy, secret or None)
    return Entrance(
        Stays(database, people.stay),
        _roles(people, settings),
        htpasswd=htpasswd,
        proxy=proxy,
        is_secure=is_secure,
    )


def open_provider(people: People, folder: Path, reactor: Any) -> Provider | None:
    """The provider that the settings name, if any; files are relative to ``folder``."""
    if people.oidc is None:
        return None
    secret = (folder / people.oidc.client_secret_file).read_text().strip()
    return Provider(people.oidc, secret, reactor, time.time)


def _roles(people: People, settings: Path | None) -> Callable[[], Sequence[RoleEntry]]:
    if settings is None:
        return lambda: people.roles
    given: Sequence[RoleEntry] = people.roles
    return Watched(settings, read_roles, given, keeps=True).now


def read_roles(settings: Path) -> Sequence[RoleEntry]:
    """The roles that stand in a settings file; `BadFile`."""
    try:
        told: Any = yaml.load(settings.read_text("utf-8"), yaml.CSafeLoader)
        people = msgspec.convert(told["people"], People)
    except (yaml.YAMLError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise BadFile(f"the roles stay as they were: {error}") from error
    for mistake in mistakes(people):
        raise BadFile(f"the roles stay as they were: {mistake}")
    return people.roles
