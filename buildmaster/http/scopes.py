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
    OPERATE = "operate"
    ADMIN = "admin"


ARTIFACT = "/api/v1/artifacts/{sha256}"

NEEDS: Mapping[tuple[str, str], Need] = {
    ("GET", "/"): Need.NOTHING,
    ("GET", "/page/{file}"): Need.NOTHING,
    ("GET", "/page/{folder}/{file}"): Need.NOTHING,
    # Who has not come in yet has nothing to show; who leaves may have nothing any more.
    ("GET", "/login"): Need.NOTHING,
    ("POST", "/login"): Need.NOTHING,
    ("GET", "/login/oidc"): Need.NOTHING,
    ("GET", "/login/oidc/callback"): Need.NOTHING,
    ("POST", "/logout"): Need.NOTHING,
    # Everybody may ask who they are.
    ("GET", "/api/v1/me"): Need.NOTHING,
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
    ("GET", "/api/v1/workflows"): Need.READ,
    ("POST", "/api/v1/workflows"): Need.SUBMIT,
    ("GET", "/api/v1/workflows/{workflow}"): Need.READ,
    ("GET", "/api/v1/workflows/{workflow}/history"): Need.READ,
    ("GET", "/api/v1/workflows/{workflow}/export"): Need.READ,
    ("POST", "/api/v1/workflows/{workflow}/signal"): Need.SUBMIT,
    ("POST", "/api/v1/workflows/{workflow}/query"): Need.READ,
    ("POST", "/api/v1/workflows/{workflow}/cancel"): Need.CANCEL,
    # Whoever knows the webhook's secret signs with it.
    ("POST", "/api/v1/hooks/{hook}"): Need.NOTHING,
    ("GET", "/api/v1/schedules"): Need.READ,
    ("POST", "/api/v1/schedules"): Need.SUBMIT,
    ("POST", "/api/v1/schedules/{schedule}/remove"): Need.SUBMIT,
    ("POST", "/api/v1/schedules/{schedule}/pause"): Need.SUBMIT,
    ("POST", "/api/v1/schedules/{schedule}/resume"): Need.SUBMIT,
    ("POST", "/api/v1/jobs/{job}/classify"): Need.OPERATE,
    ("GET", "/api/v1/rules"): Need.READ,
    ("POST", "/api/v1/rules"): Need.OPERATE,
    ("POST", "/api/v1/rules/try"): Need.OPERATE,
    ("POST", "/api/v1/rules/{rule}/remove"): Need.OPERATE,
    ("GET", "/api/v1/forecast"): Need.READ,
    ("POST", "/api/v1/jobs/{job}/cancel"): Need.CANCEL,
    ("POST", "/api/v1/jobs/{job}/retry"): Need.SUBMIT,
    ("POST", "/api/v1/jobs/{job}/move"): Need.OPERATE,
    ("POST", "/api/v1/jobs/{job}/rescore"): Need.OPERATE,
    ("POST", "/api/v1/bulk"): Need.OPERATE,
    ("POST", "/api/v1/duty"): Need.OPERATE,
    ("GET", "/api/v1/holds"): Need.READ,
    ("POST", "/api/v1/holds"): Need.OPERATE,
    ("POST", "/api/v1/holds/release"): Need.OPERATE,
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
    ("GET", "/api/v1/grid"): Need.READ,
    ("GET", "/api/v1/runs/{run}/graph"): Need.READ,
    ("GET", "/api/v1/jobs/{job}/whole"): Need.READ,
    ("GET", "/api/v1/queue"): Need.READ,
    ("GET", "/api/v1/timeline"): Need.READ,
    ("GET", "/api/v1/history"): Need.READ,
    ("GET", "/api/v1/events"): Need.READ,
    ("POST", "/api/v1/keys"): Need.READ,
    ("GET", "/api/v1/books"): Need.ADMIN,
    ("GET", "/api/v1/audit"): Need.ADMIN,
    ("GET", "/api/v1/stays"): Need.ADMIN,
    ("POST", "/api/v1/stays/end"): Need.ADMIN,
    ("GET", ARTIFACT): Need.FETCH,
    ("PUT", ARTIFACT): Need.STORE,
}

#: The scope that covers each need.
SCOPES = {
    Need.READ: Scope.READ,
    Need.FETCH: Scope.READ,
    Need.STORE: Scope.SUBMIT,
    Need.SUBMIT: Scope.SUBMIT,
    Need.CANCEL: Scope.CANCEL,
    Need.OPERATE: Scope.OPERATE,
    Need.ADMIN: Scope.ADMIN,
}


def permit(need: Need, grant: Grant | None, *, open_reading: bool) -> None:
    """Go on if ``grant`` is enough for ``need``; else `Problem` 401 or 403.

    With ``open_reading`` what needs READ or FETCH needs nothing.
    """
    if need is Need.NOTHING or (open_reading and need in (Need.READ, Need.FETCH)):
        return
    scope = SCOPES[need]
    if grant is None:
        raise Problem(
            401,
            "unauthorized",
            f"this needs the scope {scope.value}: log in, or send a token:"
            f" 'Authorization: Bearer TOKEN'",
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


def limits(
    need: Need, grant: Grant | None, *, open_reading: bool
) -> tuple[str, ...] | None:
    """The projects that the bearer of ``grant`` may see something of; None: everything."""
    is_limited = need is Need.READ and not open_reading
    if not is_limited or grant is None:
        return None
    return grant.projects(Scope.READ)


def outside(grant: Grant, scope: Scope) -> Problem:
    """What the bearer of ``grant`` asked for is not of its projects."""
    there = " or ".join(grant.projects(scope) or ("none",))
    return Problem(
        403,
        "outside_project",
        f"the {grant.who} has the scope {scope.value} for repositories below {there} only",
    )
