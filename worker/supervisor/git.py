"""Git sources: a bare mirror for each repository, and from it the tree of one commit.

The mirrors are shared by all attempts of a worker. Git runs without questions, hooks,
submodules or protocols that the operator did not allow; user name and password of a URL
reach it through its environment, so that no file, argument or log has them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from worker.supervisor.endings import CannotRun, Malformed

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
#: user@host:path, which git takes for ssh.
_SSH_SHORT = re.compile(r"[\w.-]+(?:@[\w.-]+)?:(?!//)(?!:)[^\s]+\Z")
_TEXT_LIMIT = 600

#: What no configuration file may change, and what makes a dead line end some day.
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "advice.detachedHead": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
}
#: The shell function hands over what the environment holds; nothing is ever stored.
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$HEADRACE_GIT_USER" "$HEADRACE_GIT_PASSWORD"; }; f'
)


class GitFailed(Exception):
    """A git command ended badly; the message is what it said, without credentials."""


@dataclass(frozen=True)
class Remote:
    """A repository: its URL without credentials, and these."""

    url: str
    user: str = ""
    password: str = ""

    def clean(self, text: str) -> str:
        """``text`` without the credentials."""
        for secret in (self.password, self.user if self.password else ""):
            text = text.replace(secret, "***") if secret else text
        return text


def remote(repository: str, protocols: tuple[str, ...]) -> Remote:
    """``repository`` taken apart, or `Malformed` for what git must not be given."""
    if repository.startswith("/"):
        return _allowed(Remote(repository), "file", protocols)
    if "://" not in repository:
        if _SSH_SHORT.match(repository) and not repository.startswith("-"):
            return _allowed(Remote(repository), "ssh", protocols)
        raise Malformed("the repository is neither a URL nor an absolute path")
    parts = urlsplit(repository)
    if parts.password is None or parts.scheme == "ssh":
        return _allowed(Remote(repository), parts.scheme, protocols)
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit(parts._replace(netloc=host))
    found = Remote(plain, unquote(parts.username or ""), unquote(parts.password))
    return _allowed(found, parts.scheme, protocols)


def _allowed(found: Remote, protocol: str, protocols: tuple[str, ...]) -> Remote:
    if protocol not in protocols:
        raise Malformed(
            f"this worker does not fetch over {protocol!r}; its operator allows "
            f"{', '.join(protocols)}"
        )
    return found


class Git:
    """Git commands for one remote."""

    def __init__(
        self, origin: Remote, protocols: tuple[str, ...], configuration: Path
    ) -> None:
        self._origin = origin
        settings = {**_SETTINGS, "remote.origin.url": origin.url}
        if origin.password:
            settings["credential.helper"] = _HELPER
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
            **_as_variables(settings),
            "HEADRACE_GIT_USER": origin.user,
            "HEADRACE_GIT_PASSWORD": origin.password,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_SSH_COMMAND": os.environ.get(
                "GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=30"
            ),
            "GIT_ALLOW_PROTOCOL": ":".join(protocols),
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_CONFIG_GLOBAL": str(configuration),
            "LC_ALL": "C.UTF-8",
        }

    def __call__(self, *arguments: str, folder: Path | None = None) -> str:
        """Run ``git arguments`` in ``folder``; what it printed, or `GitFailed`."""
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=folder or "/",
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate()
        except BaseException:
            # Its own children (ssh, remote helpers) are in its process group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        text = self._origin.clean(output.decode(errors="replace").strip())
        if process.returncode != 0:
            raise GitFailed(text[-_TEXT_LIMIT:] or f"exit status {process.returncode}")
        return text


def _as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Configuration for git that neither a file nor another process's eyes see."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for place, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{place}"] = key
        variables[f"GIT_CONFIG_VALUE_{place}"] = value
    return variables


def fetch(
    repository: str, commit: str, cache: Path, target: Path, protocols: tuple[str, ...]
) -> bool:
    """Make ``target`` a work tree of ``commit``, with its history and no credentials.

    Answers whether a mirror was made for it, which takes room in ``cache``.
    `CannotRun` if the repository is out of reach; `Malformed` if it has no such commit.
    """
    if not _COMMIT.match(commit):
        raise Malformed(f"{commit!r} is no commit: 40 or 64 hexadecimal digits are")
    origin = remote(repository, protocols)
    if origin.url.startswith("/") and not os.path.exists(origin.url):
        raise CannotRun(f"there is no repository {origin.url} on this worker", final=True)
    form = "sha256" if len(commit) == 64 else "sha1"
    # One mirror for each way in: who can't read a repository can't read its mirror.
    key = hashlib.sha256(f"{form} {repository}".encode()).hexdigest()[:40]
    mirror = cache / f"{key}.git"
    with _locked(cache, key):
        is_new = not mirror.exists()
        configuration = _configuration(cache)
        git = Git(origin, protocols, configuration)
        # From our own mirror we fetch even where the operator forbids local paths.
        local = Git(Remote(str(mirror)), ("file",), configuration)
        try:
            _freshen(git, mirror, form, commit, origin.url)
            _export(local, mirror, form, commit, target, origin.url)
        except GitFailed as failure:
            raise CannotRun(f"git cannot fetch {origin.url}: {failure}") from failure
    return is_new


@contextlib.contextmanager
def _locked(cache: Path, key: str) -> Iterator[None]:
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(cache / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(lock)  # tells when the mirror was last used
        yield
    finally:
        os.close(lock)


def _configuration(cache: Path) -> Path:
    """The operator's own configuration, and that repositories of others may be read.

    Git serves a fetch from a path in a process that takes neither arguments nor
    environment for this, only a file.
    """
    own = os.environ.get("GIT_CONFIG_GLOBAL") or os.path.expanduser("~/.gitconfig")
    text = "[safe]\n\tdirectory = *\n"
    if os.path.exists(own):
        quoted = own.replace("\\", "\\\\").replace('"', '\\"')
        text += f'[include]\n\tpath = "{quoted}"\n'
    path = cache / "gitconfig"
    if not path.exists() or path.read_text() != text:
        new = cache / f"gitconfig.{os.getpid()}"
        new.write_text(text)
        new.replace(path)
    return path


def _freshen(git: Git, mirror: Path, form: str, commit: str, url: str) -> None:
    """See to it that ``mirror`` holds ``commit``; only then ask the network."""
    if mirror.exists():
        if _has(git, mirror, commit):
            return
        _remove_stale_locks(mirror)
    else:
        _begin(git, mirror, form)
    try:
        _update(git, mirror)
    except GitFailed:
        # Either the repository is out of reach, then asking it fails, too, and tells;
        # or a crash has damaged the mirror, then a new one helps.
        git("ls-remote", "--quiet", "origin", "HEAD", folder=mirror)
        shutil.rmtree(mirror)
        _begin(git, mirror, form)
        _update(git, mirror)
    if not _has(git, mirror, commit):
        _fetch_unreferenced(git, mirror, commit, url)


def _has(git: Git, mirror: Path, commit: str) -> bool:
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}", folder=mirror)
    except GitFailed:
        return False
    return True


def _remove_stale_locks(mirror: Path) -> None:
    # The mirror is ours alone now, so whoever made these is dead.
    for lock in mirror.rglob("*.lock"):
        lock.unlink(missing_ok=True)


def _begin(git: Git, mirror: Path, form: str) -> None:
    new = mirror.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    git("init", "--quiet", "--bare", "--template=", f"--object-format={form}", str(new))
    new.rename(mirror)


def _update(git: Git, mirror: Path) -> None:
    git(
        "fetch",
        "--quiet",
        "--prune",
        "--force",
        "origin",
        "+refs/heads/*:refs/heads/*",
        "+refs/tags/*:refs/tags/*",
        folder=mirror,
    )


def _fetch_unreferenced(git: Git, mirror: Path, commit: str, url: str) -> None:
    """A commit on no branch and no tag, as of a merge request: some servers give it."""
    try:
        git("fetch", "--quiet", "--no-tags", "origin", commit, folder=mirror)
    except GitFailed as refusal:
        git("ls-remote", "--quiet", "origin", "HEAD", folder=mirror)  # still in reach?
        raise Malformed(f"the repository {url} has no commit {commit}") from refusal
    if not _has(git, mirror, commit):
        raise Malformed(f"{commit} in the repository {url} is no commit")


def _export(git: Git, mirror: Path, form: str, commit: str, target: Path, url: str) -> None:
    git("init", "--quiet", "--template=", f"--object-format={form}", str(target))
    # No hard links to the mirror: what a build does to its files must not reach it.
    git("fetch", "--quiet", "origin", f"+{commit}:refs/heads/headrace", folder=target)
    git("checkout", "--quiet", "--force", "--detach", commit, folder=target)
    git("config", "remote.origin.url", url, folder=target)
