"""The system account that PostgreSQL runs as; it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Looked for in this order when the daemon is root.
UNPRIVILEGED = ("postgres", "headrace", "nobody")


class NoAccount(Exception):
    """There is no account that PostgreSQL could run as."""


@dataclass(frozen=True)
class Account:
    """A system account, and whether taking it means giving up root."""

    name: str
    uid: int
    gid: int
    is_other: bool  #: differs from the daemon's own account

    def run(
        self, command: list[str], *, timeout: float = 10
    ) -> subprocess.CompletedProcess[str]:
        """Run a short program to its end as this account; blocks for up to ``timeout`` s.

        Raises ``OSError`` or ``subprocess.TimeoutExpired``; any exit status returns.
        """
        return subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            user=self.uid if self.is_other else None,
            group=self.gid if self.is_other else None,
            extra_groups=os.getgrouplist(self.name, self.gid) if self.is_other else None,
        )

    def can_enter(self, folder: Path) -> bool:
        """Whether this account can use what lies in ``folder``.

        Asked of the kernel, as the account: modes alone would miss access control
        lists, network file systems that squash root, and mandatory access control.
        """
        if not self.is_other:
            return os.access(folder, os.X_OK)
        return self.run(["test", "-x", str(folder)]).returncode == 0


def account_to_run_as() -> Account:
    """The daemon's own account, or an unprivileged one when the daemon is root."""
    uid = os.geteuid()
    if uid != 0:
        return _own(uid)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid, is_other=True)
    raise NoAccount(
        "PostgreSQL does not run as root, and this machine has none of the accounts "
        f"{', '.join(UNPRIVILEGED)}: create one with 'useradd --system headrace'."
    )


def owner_of(cluster: Path) -> Account:
    """The account that ``cluster`` was made by: it alone can go on with it.

    When root, this may differ from ``account_to_run_as``: installing PostgreSQL brings
    an account that was not there when the cluster was made.
    """
    uid, own = cluster.stat().st_uid, os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise NoAccount(
            f"The cluster in {cluster} belongs to account number {uid}, which this "
            "machine does not know: give it to an account that exists, with chown -R."
        ) from None
    if uid == 0 or own not in (0, uid):
        raise NoAccount(
            f"The cluster in {cluster} belongs to {entry.pw_name}, and only its owner, "
            "never root, can run it: start the daemon as its owner, or give it to the "
            "account that should run it, with chown -R."
        )
    return Account(entry.pw_name, uid, entry.pw_gid, is_other=own != uid)


def _own(uid: int) -> Account:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise NoAccount(
            f"PostgreSQL needs a name for the account it runs as, and number {uid} has "
            "none on this machine: add it to /etc/passwd, or run as another account."
        ) from None
    return Account(name, uid, os.getegid(), is_other=False)
