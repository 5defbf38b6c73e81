"""Which scope each address and method needs: one table, for every route there is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from buildmaster.grants import Grant, Scope
from buildmaster.http.problems import Problem
from protocol import websocket


class Need(Enum):
    """What a request must bring."""

    NOTHING = "nothing"
    READ = "read"  #: the scope, where reading is not open to all
    FETCH = "fetch"  #: as READ, or the token of an attempt
    STORE = "store"  #: the scope submit, or the token of an attempt
    SUBMIT = "submit"
    CANCEL = "cancel"
    ADMIN = "admin"


ARTIFACT = "/api/v1/artifacts/{sha256}"

NEEDS: Mapping[tuple[str, str], Need] = {
    ("GET", "/"): Need.NOTHING,
    ("GET", "/page/{file}"): Need.NOTHING,
    ("GET", "/healthz"): Need.NOTHING,
    ("GET", "/metrics"): Need.READ,
    ("GET", "/cctray.xml"): Need.READ,
    ("GET", "/badge.svg"): Need.READ,
    # Who may join is decided by the worker's token, in its hello.
    ("GET", websocket.PATH): Need.NOTHING,
    # What the interface looks like is no secret.
    ("GET", "/api/v1/openapi.json"): Need.NOTHING,
    ("GET", "/api/v1/overview"): Need.READ,
    ("GET", "/api/v1/runs"): Need.READ,
    ("POST", "/api/v1/runs"): Need.SUBMIT,
    ("GET", "/api/v1/runs/{run}"): Need.READ,
    ("POST", "/api/v1/runs/{run}/cancel"): Need.CANCEL,
    ("POST", "/api/v1/runs/{run}/rerun"): Need.SUBMIT,
    ("POST", "/api/v1/jobs/{job}/release"): Need.SUBMIT,
    ("GET", "/api/v1/jobs"): Need.READ,
    ("POST", "/api/v1/jobs"): Need.SUBMIT,
    ("GET", "/api/v1/jobs/{job}"): Need.READ,
    ("GET", "/api/v1/jobs/{job}/log"): Need.READ,
    ("GET", "/api/v1/jobs/{job}/explain"): Need.READ,
    ("GET", "/api/v1/jobs/{job}/order"): Need.READ,
    ("POST", "/api/v1/jobs/{job}/shell"): Need.ADMIN,
    ("POST", "/api/v1/jobs/{job}/classify"): Need.ADMIN,
    ("GET", "/api/v1/rules"): Need.READ,
    ("POST", "/api/v1/rules"): Need.ADMIN,
    ("POST", "/api/v1/rules/try"): Need.ADMIN,
    ("POST", "/api/v1/rules/{rule}/remove"): Need.ADMIN,
    ("GET", "/api/v1/forecast"): Need.READ,
    ("POST", "/api/v1/jobs/{job}/cancel"): Need.CANCEL,
    ("POST", "/api/v1/jobs/{job}/retry"): Need.SUBMIT,
    ("POST", "/api/v1/jobs/{job}/move"): Need.ADMIN,
    ("POST", "/api/v1/jobs/{job}/rescore"): Need.ADMIN,
    ("POST", "/api/v1/bulk"): Need.ADMIN,
    ("POST", "/api/v1/duty"): Need.ADMIN,
    ("GET", "/api/v1/holds"): Need.READ,
    ("POST", "/api/v1/holds"): Need.ADMIN,
    ("POST", "/api/v1/holds/release"): Need.ADMIN,
    ("GET", "/api/v1/workers"): Need.READ,
    ("POST", "/api/v1/workers"): Need.ADMIN,
    ("GET", "/api/v1/workers/{worker}"): Need.READ,
    ("POST", "/api/v1/workers/{worker}/rotate"): Need.ADMIN,
    ("POST", "/api/v1/workers/{worker}/revoke"): Need.ADMIN,
    ("GET", "/api/v1/semaphores"): Need.READ,
    ("POST", "/api/v1/semaphores"): Need.ADMIN,
    ("POST", "/api/v1/semaphores/{semaphore}/remove"): Need.ADMIN,
    ("POST", "/api/v1/caps"): Need.ADMIN,
    ("GET", "/api/v1/tokens"): Need.ADMIN,
    ("POST", "/api/v1/tokens"): Need.ADMIN,
    ("POST", "/api/v1/tokens/{token}/revoke"): Need.ADMIN,
    ("GET", "/api/v1/events"): Need.READ,
    ("GET", "/api/v1/audit"): Need.ADMIN,
    ("GET", ARTIFACT): Need.FETCH,
    ("PUT", ARTIFACT): Need.STORE,
}

_SCOPES = {
    Need.READ: Scope.READ,
    Need.FETCH: Scope.READ,
    Need.STORE: Scope.SUBMIT,
    Need.SUBMIT: Scope.SUBMIT,
    Need.CANCEL: Scope.CANCEL,
    Need.ADMIN: Scope.ADMIN,
}


def permit(need: Need, grant: Grant | None, *, open_reading: bool) -> None:
    """Go on if ``grant`` is enough for ``need``; else `Problem` 401 or 403.

    With ``open_reading`` what needs READ or FETCH needs nothing.
    """
    if need is Need.NOTHING or (open_reading and need in (Need.READ, Need.FETCH)):
        return
    scope = _SCOPES[need]
    if grant is None:
        raise Problem(
            401,
            "unauthorized",
            f"this needs a token with the scope {scope.value}: 'Authorization: Bearer"
            f" TOKEN'",
            headers={"WWW-Authenticate": 'Bearer realm="headrace"'},
        )
    if grant.file is not None:
        if need is not Need.FETCH:
            raise Problem(403, "not_allowed", "this token lets one file be fetched")
    elif grant.attempt is not None:
        if need not in (Need.FETCH, Need.STORE):
            raise Problem(
                403,
                "not_allowed",
                "the token of an attempt lets in artifacts and nothing else",
            )
    elif not grant.covers(scope):
        raise Problem(
            403, "not_allowed", f"the {grant.who} does not have the scope {scope.value}"
        )


def outside(grant: Grant) -> Problem:
    """What the bearer of ``grant`` asked for is not of its project."""
    return Problem(
        403,
        "outside_project",
        f"the {grant.who} is for repositories below {grant.project} only",
    )
