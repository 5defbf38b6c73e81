"""What each address that changes something is called in the audit.

Every route is there that takes POST or PUT. That somebody reads is told by the access log.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.http.scopes import ARTIFACT

#: Whose handlers note them, once it is known who comes: strangers write nothing at will.
NOTED_THERE = frozenset({"/login"})

ACTS: Mapping[tuple[str, str], str] = {
    ("POST", "/login"): "login",
    ("POST", "/logout"): "logout",
    ("POST", "/api/v1/stays/end"): "stay.end",
    ("POST", "/api/v1/runs"): "run.submit",
    ("POST", "/api/v1/runs/{run}/cancel"): "run.cancel",
    ("POST", "/api/v1/runs/{run}/rerun"): "run.rerun",
    ("POST", "/api/v1/jobs/{job}/release"): "job.release",
    ("POST", "/api/v1/jobs"): "job.enqueue",
    ("POST", "/api/v1/jobs/{job}/shell"): "job.shell",
    ("POST", "/api/v1/jobs/{job}/cancel"): "job.cancel",
    ("POST", "/api/v1/jobs/{job}/retry"): "job.retry",
    ("POST", "/api/v1/jobs/{job}/move"): "job.move",
    ("POST", "/api/v1/jobs/{job}/rescore"): "job.rescore",
    ("POST", "/api/v1/jobs/{job}/classify"): "job.classify",
    ("POST", "/api/v1/workflows"): "workflow.start",
    ("POST", "/api/v1/workflows/{workflow}/signal"): "workflow.signal",
    ("POST", "/api/v1/workflows/{workflow}/query"): "workflow.query",
    ("POST", "/api/v1/workflows/{workflow}/cancel"): "workflow.cancel",
    # Who sends it is known by the webhook's secret, and noted with the signal.
    ("POST", "/api/v1/hooks/{hook}"): "workflow.hook",
    ("POST", "/api/v1/schedules"): "schedule.add",
    ("POST", "/api/v1/schedules/{schedule}/remove"): "schedule.remove",
    ("POST", "/api/v1/schedules/{schedule}/pause"): "schedule.pause",
    ("POST", "/api/v1/schedules/{schedule}/resume"): "schedule.resume",
    ("POST", "/api/v1/rules"): "rule.add",
    ("POST", "/api/v1/rules/try"): "rule.try",
    ("POST", "/api/v1/rules/{rule}/remove"): "rule.remove",
    # It changes nothing; but what is asked at such length is noted.
    ("POST", "/api/v1/keys"): "keys.ask",
    ("POST", "/api/v1/bulk"): "jobs.bulk",
    ("POST", "/api/v1/duty"): "worker.duty",
    ("POST", "/api/v1/holds"): "queue.hold",
    ("POST", "/api/v1/holds/release"): "queue.release",
    ("POST", "/api/v1/workers"): "worker.add",
    ("POST", "/api/v1/workers/{worker}/rotate"): "worker.rotate",
    ("POST", "/api/v1/workers/{worker}/revoke"): "worker.revoke",
    ("POST", "/api/v1/semaphores"): "semaphore.set",
    ("POST", "/api/v1/semaphores/{semaphore}/remove"): "semaphore.remove",
    ("POST", "/api/v1/caps"): "owner.cap",
    ("POST", "/api/v1/tokens"): "token.add",
    ("POST", "/api/v1/tokens/{token}/revoke"): "token.revoke",
    ("PUT", ARTIFACT): "file.send",
}
