"""What the workflow asks of the Copr server: repeated calls are known by their keys."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.request import Request, urlopen

from buildmaster.workflow import LocalCall, local

#: The build of a source package is of this chroot.
SOURCE = "srpm-builds"


@local
def submit_source(call: LocalCall, project: str, commit: str) -> int:
    """Have the source package built; the number of the build."""
    return _submit(call, project=project, commit=commit, chroots=[SOURCE])


@local
def submit_binaries(call: LocalCall, project: str, source: int, chroots: list[str]) -> int:
    """Have binary packages built of it, one for each chroot; the number of the build."""
    return _submit(call, project=project, source=source, chroots=chroots)


@local
def state_of(call: LocalCall, build: int, chroot: str) -> str:
    """How far a build is: running, succeeded or failed."""
    return str(_ask(call, f"/builds/{build}")["chroots"][chroot])


@local
def tell(call: LocalCall, project: str, commit: str, what: str, ok: bool) -> None:
    """Show people how far it is, beside the commit."""
    _ask(call, "/statuses", project=project, commit=commit, what=what, ok=ok)


def _submit(call: LocalCall, **what: Any) -> int:
    return int(_ask(call, "/builds", **what)["build"])


def _ask(call: LocalCall, path: str, **body: Any) -> Any:
    data = json.dumps({"key": call.key, **body}).encode() if body else None
    headers = {"Content-Type": "application/json"}
    request = Request(os.environ["COPR_URL"] + path, data, headers)
    with urlopen(request, timeout=call.timeout) as answer:
        return json.load(answer)
