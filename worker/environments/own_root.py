"""A user namespace of this account's own, in which it is root: for chroots without root.

The account must have a range of subordinate ids, so that the users of an image (``_apt``,
``_lpci`` …) are somebody: with one id alone, packages can't be installed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from worker.environments import syscalls
from worker.environments.interface import EnvironmentFault

#: Ids that an image needs: those of nobody and nogroup are 65534.
IDS = 65536
_MAPPERS = ("newuidmap", "newgidmap")
_RANGES = ("/etc/subuid", "/etc/subgid")
_PROGRAM = "worker.environments.own_root"


def why_not() -> str:
    """Why this account can't be root in a namespace, and what to switch on; "" if it can.

    Whether the kernel allows it is tried, in a process that ends at once.
    """
    missing = [name for name in _MAPPERS if shutil.which(name) is None]
    if missing:
        return f"it has no {' and '.join(missing)}: apt-get install uidmap"
    name, number = _account()
    for path in _RANGES:
        if _range(path, name, number) is None:
            return (
                f"{path} gives the account {name} no range of {IDS} ids: usermod "
                f"--add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
            )
    done = _inside(["true"])
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        return (
            f"the kernel allows no user namespaces to ordinary users ({said}): set "
            "user.max_user_namespaces, or kernel.unprivileged_userns_clone, by sysctl"
        )
    return ""


def enter() -> None:
    """Make this process root in a new user namespace; EnvironmentFault if it can't be.

    For a process with one thread. It can't leave again; what it may do to the machine is
    no more than before.
    """
    dies_by = syscalls.dies_with_parent_by()
    name, number = _account()
    maps = []
    for program, path, own in zip(
        _MAPPERS, _RANGES, (os.geteuid(), os.getegid()), strict=True
    ):
        first = _range(path, name, number)
        if first is None:
            raise EnvironmentFault(f"Chroots need root, or {why_not()}.")
        maps.append([program, str(os.getpid()), "0", str(own), "1"])
        maps[-1] += ["1", str(first), str(IDS - 1)]
    ready_end, ready = os.pipe()
    told_end, told = os.pipe()
    helper = os.fork()
    if helper == 0:
        _map(maps, ready_end, told, (ready, told_end))
    os.close(ready_end)
    os.close(told)
    try:
        try:
            syscalls.unshare(syscalls.NEWUSER)
        except OSError as error:
            raise EnvironmentFault(
                f"The kernel gives this account no user namespace: {error.strerror}."
            ) from None
        os.write(ready, b".")
        complaint = os.read(told_end, 4096).decode(errors="replace")
        if complaint != "ok":
            raise EnvironmentFault(f"Its ids could not be mapped: {complaint}.")
    finally:
        os.close(ready)
        os.close(told_end)
        os.waitpid(helper, 0)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # The kernel forgets both when a process becomes another.
    syscalls.show_memory()
    if dies_by:
        syscalls.die_with_parent(dies_by)


def is_within() -> bool:
    """Whether this process is in such a namespace."""
    try:
        fields = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return False
    return fields != ["0", "0", str(2**32 - 1)]


def remove(folder: Path) -> None:
    """Remove a folder with files of this account's further ids, as far as they are."""
    _inside(["rm", "-rf", "--one-file-system", "--", str(folder)])


def run_inside(argv: list[str]) -> list[str]:
    """The command (argv) that runs ``argv`` as root of such a namespace."""
    return [sys.executable, "-P", "-m", _PROGRAM, *argv]


def _inside(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        run_inside(argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        env=variables(),
    )


def variables() -> dict[str, str]:
    """The environment in which another Python finds this module."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _account() -> tuple[str, int]:
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name, number
    except KeyError:
        return str(number), number


def _range(path: str, name: str, number: int) -> int | None:
    """The first of the `IDS` - 1 ids that ``path`` gives the account."""
    with suppress(OSError, ValueError):
        for line in Path(path).read_text().splitlines():
            who, first, count = line.split(":")
            if who in (name, str(number)) and int(count) >= IDS - 1:
                return int(first)
    return None


def _map(maps: list[list[str]], ready: int, told: int, others: tuple[int, ...]) -> None:
    """Be the helper, outside of the new namespace, and never return."""
    try:
        for each in others:
            os.close(each)
        os.read(ready, 1)
        for argv in maps:
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                os.write(told, done.stderr.strip().encode()[:4000] or b"no reason given")
                os._exit(1)
        os.write(told, b"ok")
    finally:
        os._exit(0)


def main(argv: list[str]) -> None:
    """Run a command as root of a namespace; for ``run_inside``."""
    try:
        enter()
        os.execvp(argv[0], argv)
    except (EnvironmentFault, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(125)


if __name__ == "__main__":
    main(sys.argv[1:])
