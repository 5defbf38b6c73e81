"""What lies on disk of a PostgreSQL cluster: its version, settings and state."""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from buildmaster.postgres.binaries import Binaries
from buildmaster.postgres.placement import Home

#: The role that owns the farm's database, and its name.
ROLE = "headrace"

#: Starting values for a small machine; operators may change them in postgresql.conf.
SETTINGS = """
# Headrace's starting values; change them here. Sockets and access are not settings:
# the daemon gives them on the command line.
max_connections = 100
shared_buffers = 128MB
wal_compression = on
random_page_cost = 1.1
jit = off
autovacuum_naptime = 10s
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
log_line_prefix = '%m [%p] %q%u@%d '
"""


class OtherVersion(Exception):
    """The cluster was made by another major version than the one at hand."""


def require_version(home: Home, binaries: Binaries) -> None:
    """Return if the programs can run the cluster."""
    major = version_of(home)
    if major == binaries.major:
        return
    raise OtherVersion(
        f"The database in {home.cluster} was made by PostgreSQL {major}, and what was "
        f"found here is PostgreSQL {binaries.major} ({binaries.folder}): install version "
        f"{major} beside it (package postgresql-{major}) or name its folder in "
        f"HEADRACE_PG_BIN; or convert the folder with pg_upgrade of version "
        f"{binaries.major}."
    )


def version_of(home: Home) -> int | None:
    """The major version that made the cluster; None if there is no cluster yet."""
    try:
        text = read_small(home.cluster / "PG_VERSION")
    except FileNotFoundError:
        return None
    match = re.match(r"\d+", text)
    if match is None:
        raise OtherVersion(
            f"{home.cluster} is no PostgreSQL cluster: its PG_VERSION says {text[:40]!r}. "
            "Bring the folder back from a backup, or choose another data folder."
        )
    return int(match[0])


def adopt(new: Path, home: Home) -> None:
    """Make a complete new cluster the home's, with our starting values."""
    # The folder is PostgreSQL's account's: it must not lead us elsewhere with a link.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
    with open(os.open(new / "postgresql.conf", flags), "w") as file:
        file.write(SETTINGS)
        file.flush()
        os.fsync(file.fileno())
    new.rename(home.cluster)
    folder = os.open(home.folder, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def fixed_settings(home: Home, sockets: Path) -> dict[str, str]:
    """What no operator may change: a private socket, nothing on the network."""
    return {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "hba_file": str(home.access),
        "ident_file": str(home.names),
        "log_destination": "stderr",
        "logging_collector": "off",
    }


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What PostgreSQL's programs get to know of ours: nothing that could steer them."""
    kept = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    if libraries := environ.get("LD_LIBRARY_PATH"):
        kept["LD_LIBRARY_PATH"] = libraries
    return kept


def write_access(home: Home) -> None:
    """Let the daemon's own account connect, and nobody else.

    The socket's folder keeps others out already; this holds where somebody opened it.
    """
    name = pwd.getpwuid(os.geteuid()).pw_name.replace('"', '""')
    _replace(home.access, "local all all peer map=daemon\n")
    _replace(home.names, "".join(f'daemon "{name}" {it}\n' for it in (ROLE, "postgres")))


def is_ready(home: Home, pid: int) -> bool:
    """Whether the server with this process id takes connections, by its own account."""
    try:
        lines = read_small(home.cluster / "postmaster.pid").split("\n")
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].startswith("ready")


def write_pid(home: Home, pid: int) -> None:
    _replace(home.pid_file, f"{pid}\n")


def read_small(path: Path, limit: int = 4096) -> str:
    """The start of a small file that another account may have put there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, limit).decode(errors="replace")
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Write a file that PostgreSQL's account may read, whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    with open(descriptor, "w") as file:
        file.write(text)
        os.fchmod(descriptor, 0o644)
    os.replace(name, path)
