"""Fitting out a fresh file system for builds on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from worker.environments.interface import UNPRIVILEGED, BadPath
from worker.environments.tree import Tree

#: Where lpci keeps the project; ``lpcraft`` is what it was called once.
FOLDER = "/build/lpci"
PROJECT = f"{FOLDER}/project"
#: Beside it: what other jobs handed over.
INPUTS = "/build/headrace-inputs"
_OLD_FOLDER = "/build/lpcraft"

_NO_SERVICES = b"""#!/bin/sh
# There is no init in here that could run services.
exit 101
"""

_HOSTS = b"127.0.0.1\tlocalhost headrace\n::1\tlocalhost ip6-localhost ip6-loopback\n"

#: Settings that name programs of the host, or folders that are otherwise in an image.
_NOT_ABOUT_NETWORK = re.compile(r"\b(DPkg|Dir|Post-Invoke|Pre-Invoke|Auto-?Detect)\b", re.I)
_NETWORK = re.compile(r"\bAcquire(::|\s*\{)", re.I)
_CERTIFICATE = re.compile(r'\bCaInfo\s+"(/[^"]+)"', re.I)

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_OWN_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def fit(tree: Tree, host: Path = Path("/")) -> None:
    """Give a file system the project's folder, users, and this machine's network."""
    tree.link(_OLD_FOLDER, "lpci")
    tree.write("/usr/sbin/policy-rc.d", _NO_SERVICES, 0o755)
    tree.write("/etc/hosts", _HOSTS)
    tree.write("/etc/hostname", b"headrace\n")
    _copy(tree, host, Path("/etc/resolv.conf"))
    _add_user(tree)
    for snippet in apt_snippets(host):
        tree.write(f"/etc/apt/apt.conf.d/{snippet.name}", snippet.read_bytes())
    _bring_certificates(tree, host)


def make_project(tree: Tree) -> None:
    """Make the project's folder, empty, and nothing beside it; there are no inputs."""
    tree.remove(FOLDER)
    tree.remove(INPUTS)
    tree.make_folder(PROJECT)


def apt_snippets(host: Path = Path("/")) -> list[Path]:
    """Those of the host's apt settings that are about reaching the network."""
    found = []
    for path in sorted((host / "etc/apt/apt.conf.d").glob("*")):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if _NETWORK.search(text) and not _NOT_ABOUT_NETWORK.search(text):
            found.append(path)
    return found


def _copy(tree: Tree, host: Path, path: Path) -> None:
    try:
        content = (host / path.relative_to("/")).read_bytes()
    except OSError:
        return
    tree.write(str(path), content)


def _bring_certificates(tree: Tree, host: Path) -> None:
    try:
        tree.resolve(str(_CERTIFICATES))
    except BadPath:
        _copy(tree, host, _CERTIFICATES)
    wanted = {
        Path(name)
        for snippet in apt_snippets(host)
        for name in _CERTIFICATE.findall(snippet.read_text(errors="replace"))
    }
    own = host / _OWN_CERTIFICATES.relative_to("/")
    wanted |= {_OWN_CERTIFICATES / path.relative_to(own) for path in own.rglob("*.crt")}
    for path in wanted - {_CERTIFICATES}:
        _copy(tree, host, path)


def _add_user(tree: Tree) -> None:
    """Add the user for ``root: false``, as ``useradd --system`` would."""
    users = _lines(tree, "/etc/passwd")
    if any(line.startswith(f"{UNPRIVILEGED}:") for line in users):
        return
    groups = _lines(tree, "/etc/group")
    taken = {field for line in users + groups for field in line.split(":")[2:3]}
    number = next(each for each in range(900, 99, -1) if str(each) not in taken)
    home = f"/home/{UNPRIVILEGED}"
    users.append(f"{UNPRIVILEGED}:x:{number}:{number}::{home}:/bin/bash")
    groups.append(f"{UNPRIVILEGED}:x:{number}:")
    tree.write("/etc/passwd", _joined(users))
    tree.write("/etc/group", _joined(groups))
    tree.make_folder(home, (number, number))


def _lines(tree: Tree, path: str) -> list[str]:
    try:
        return os.fsdecode(tree.read(path)).splitlines()
    except BadPath:
        return []


def _joined(lines: list[str]) -> bytes:
    return os.fsencode("".join(f"{line}\n" for line in lines))
