"""The database refuses impossible states: for each CHECK, a row that breaks it alone."""

from __future__ import annotations

from contextlib import closing
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extras import Json
from twisted.trial.unittest import SynchronousTestCase

from tests.postgres import fresh_dsn

Row = dict[str, Any]

DIGEST = b"\x01" * 32
NOW = "2026-01-01 12:00+00"

#: A valid row of each table, in an order in which they can be inserted.
VALID: dict[str, Row] = {
    "schema_version": {"number": 9999, "name": "9999_test", "sha256": DIGEST},
    "job_kind": {"name": "test-kind", "description": "for a test"},
    "configuration": {"sha256": DIGEST, "text": "pipeline: []"},
    "run": {
        "repository": "https://example.org/a",
        "source_digest": "a" * 40,
        "configuration": DIGEST,
        "requester": "ann",
        "owner": "ann",
    },
    "job_class": {
        "architecture": "amd64",
        "isolation": "chroot",
        "series": ["bookworm"],
        "tags": [],
    },
    "job": {
        "kind": "build",
        "repository": "https://example.org/a",
        "source_digest": "a" * 40,
        "name": "a",
        "requester": "ann",
        "owner": "ann",
        "class": 1,
    },
    "worker": {"name": "ant"},
    "master": {"name": "m", "url": "http://m:1", "fingerprint": "0" * 64},
    "worker_token": {"worker": "ant", "sha256": DIGEST},
    "farm_secret": {"name": "attempts", "value": "0" * 64},
    "api_token": {"name": "ci", "sha256": DIGEST, "scopes": "{read}", "created_by": "ann"},
    "stay": {
        "sha256": DIGEST,
        "who": "ada",
        "way": "oidc",
        "display": "Ada",
        "expires_at": "2126-01-01 12:00+00",
    },
    "act": {"act": "job.cancel", "who": "person ada"},
    "native_job": {"job": 1},
    "owner": {"name": "ann"},
    "pool": {"architecture": "amd64"},
    "share": {"owner": "ann", "architecture": "amd64", "virtual_finish": 0},
    "semaphore": {"name": "lab"},
    "queue_hold": {"scope": "project", "name": "p", "reason": "why", "held_by": "ann"},
    "workflow": {"name": "w", "class": "C", "version": 1, "requester": "a", "owner": "a"},
    "workflow_event": {"workflow": 1, "type": "cancel", "dedupe_key": "cancel"},
    "workflow_command": {
        "workflow": 1,
        "generation": 1,
        "seq": 0,
        "event": 0,
        "kind": "local",
        "name": "x",
    },
    "workflow_outbox": {"workflow": 1, "generation": 1, "seq": 0, "kind": "local"},
    "workflow_collection_wait": {
        "workflow": 1,
        "generation": 1,
        "seq": 0,
        "collection": "c",
        "trust_domain": "trusted",
        "contains": ["a"],
        "cell": Json({}),
    },
    "schedule": {
        "name": "s",
        "cron": "@daily",
        "zone": "UTC",
        "starts": Json({}),
        "owner": "a",
        "made_by": "a",
    },
    "firing": {"schedule": 1, "at": NOW},
    "duration_sketch": {"kind": "build", "name": "a", "class": 1, "counts": [0.0] * 120},
    "forecast": {
        "job": 1,
        "attempt": 1,
        "class": 1,
        "made_at": NOW,
        "played": [1.0, 2.0, 3.0],
        "low": 1.0,
        "high": 3.0,
    },
    "audit": {"begun_at": NOW},
    "forecast_score": {"class": 1, "day": NOW, "early": 0, "within": 1, "late": 0},
    "forecast_error": {
        "class": 1,
        "low": [0.0] * 120,
        "middle": [0.0] * 120,
        "high": [0.0] * 120,
    },
    "failure_rule": {"pattern": "x", "classification": "flaky", "made_by": "ada"},
    "outage": {"failure": "away", "reason": "away", "began_at": NOW, "next_at": NOW},
    "build": {
        "job": 1,
        "architecture": "amd64",
        "series": "bookworm",
        "stages": Json([[["lint", 0]]]),
        "stage_numbers": [0],
        "configuration": DIGEST,
        "source": Json({"kind": "git"}),
    },
    "attempt": {"job": 1, "number": 1},
    "pipeline_job": {
        "job": 1,
        "attempt": 1,
        "name": "lint",
        "index": 0,
        "stage": 0,
        "place": 0,
        "series": "bookworm",
    },
    "log_chunk": {"job": 1, "attempt": 1, "start": 0, "length": 1, "data": b"x"},
    "blob": {"sha256": DIGEST, "size": 0},
    "kind_schema_version": {
        "kind": "k",
        "number": 1,
        "name": "0001_k",
        "sha256": DIGEST,
    },
    "kind_end": {"job": 1, "attempt": 1},
    "node": {
        "job": 1,
        "job_name": "build",
        "covers": [],
        "scope": "run",
        "reuse": "never",
        "base": DIGEST,
        "inputs": DIGEST,
        "is_late": False,
        "environment": "chroot/amd64/noble",
    },
    "collection_wait": {
        "job": 1,
        "collection": "side-tag",
        "trust_domain": "trusted",
        "contains": ["foo"],
    },
    "artifact": {
        "job": 1,
        "attempt": 1,
        "name": "lint",
        "index": 0,
        "path": "a/b..c",
        "sha256": DIGEST,
    },
}

DONE: Row = {"state": "done", "result": "success", "finished_at": NOW}


class Case(NamedTuple):
    """A change of the valid row, and the CHECK that it breaks."""

    table: str
    constraint: str
    changes: Row


CASES = [
    Case("schema_version", "schema_version_number_check", {"number": 0}),
    Case("schema_version", "schema_version_sha256_check", {"sha256": b"short"}),
    Case("kind_schema_version", "kind_schema_version_number_check", {"number": 0}),
    Case("kind_schema_version", "kind_schema_version_sha256_check", {"sha256": b"x"}),
    Case("kind_end", "kind_end_tries_check", {"tries": -1}),
    Case("job_kind", "job_kind_name_check", {"name": "No Kind"}),
    Case("job_kind", "job_kind_name_check", {"name": "kind\n"}),
    Case("configuration", "configuration_sha256_check", {"sha256": b"short"}),
    Case("configuration", "configuration_text_check", {"text": "x" * 524_289}),
    Case("run", "run_source_digest_check", {"source_digest": "main"}),
    Case("run", "run_source_digest_check", {"source_digest": "a" * 40 + "\n"}),
    Case("run", "run_source_digest_check", {"source_digest": "sha256:" + "a" * 40}),
    Case("master", "master_url_check", {"url": "ftp://m"}),
    Case("master", "master_fingerprint_check", {"fingerprint": "0" * 63}),
    Case("run", "done_run_has_an_end", {"state": "done"}),
    Case("run", "done_run_has_an_end", {"state": "done", "result": "success"}),
    Case("run", "done_run_has_an_end", {"state": "open", "finished_at": NOW}),
    Case("run", "run_open_jobs_check", {"open_jobs": -1}),
    Case("run", "run_source_is_whole", {"repository": None}),
    Case("run", "run_source_is_whole", {"configuration": None}),
    Case("job_class", "job_class_slots_check", {"slots": 0}),
    Case("job_class", "job_class_cpu_check", {"cpu": -1}),
    Case("job_class", "job_class_memory_check", {"memory": -1}),
    Case("job_class", "job_class_disk_check", {"disk": -1}),
    Case("job", "job_part_check", {"part": -1}),
    Case("job", "job_virtual_start_check", {"virtual_start": -1}),
    Case("job", "job_virtual_start_check", {"virtual_start": 1 << 43}),
    Case("job", "job_limits_check", {"limits": []}),
    Case("job", "job_expected_seconds_check", {"expected_seconds": -1}),
    Case("job", "job_queue_limit_check", {"queue_limit": 0}),
    Case("job", "job_total_limit_check", {"total_limit": 0}),
    Case("job", "job_retry_check", {"retry": Json({})}),
    Case("job", "job_failures_check", {"failures": -1}),
    Case("job", "job_lost_workers_check", {"lost_workers": -1}),
    Case("job", "parked_says_why", {"state": "parked"}),
    Case(
        "job",
        "parked_is_unblocked",
        {"state": "parked", "parked_for": "a test", "blocked_by": 1},
    ),
    Case("native_job", "native_job_arguments_check", {"arguments": Json([])}),
    Case("audit", "audit_sole_check", {"sole": False}),
    Case("stay", "stay_sha256_check", {"sha256": b"short"}),
    Case("stay", "stay_who_check", {"who": ""}),
    Case("stay", "stay_who_check", {"who": "a" * 201}),
    Case("stay", "stay_display_check", {"display": "a" * 201}),
    Case("stay", "a_stay_has_an_end", {"expires_at": "1990-01-01 12:00+00"}),
    Case("stay", "groups_are_few", {"groups": ["a"] * 1001}),
    Case("act", "act_act_check", {"act": "job.cancel\n"}),
    Case("act", "act_who_check", {"who": "a" * 301}),
    Case("act", "act_address_check", {"address": "a" * 101}),
    Case("act", "act_outcome_check", {"outcome": "Not done", "status": 400}),
    Case("act", "act_worker_check", {"worker": "a" * 301}),
    Case("act", "outcome_has_a_status", {"outcome": "done"}),
    Case("owner", "owner_weight_check", {"weight": 0}),
    Case("pool", "pool_mean_seconds_check", {"mean_seconds": -1}),
    Case("share", "share_mean_seconds_check", {"mean_seconds": -1}),
    Case("semaphore", "semaphore_capacity_check", {"capacity": -1}),
    Case("queue_hold", "queue_hold_reason_check", {"reason": ""}),
    Case("queue_hold", "the_farm_has_no_name", {"scope": "farm"}),
    Case("queue_hold", "the_farm_has_no_name", {"name": ""}),
    Case("worker", "worker_cpu_check", {"cpu": -1}),
    Case("worker", "worker_memory_check", {"memory": -1}),
    Case("worker", "worker_disk_check", {"disk": -1}),
    Case("worker", "quarantine_has_a_reason", {"quarantined_at": NOW}),
    Case("worker", "quarantine_has_a_reason", {"quarantine_reason": "it failed"}),
    Case("worker", "off_duty_has_a_reason", {"duty": "paused"}),
    Case("job", "job_attempt_check", {"attempt": 0}),
    Case("job", "job_errors_check", {"errors": -1}),
    Case("job", "job_error_limit_check", {"error_limit": -1}),
    Case("job", "job_blocked_by_check", {"blocked_by": -1}),
    Case("job", "job_score_check", {"score": 1_000_001}),
    Case("job", "job_score_check", {"score": -1}),
    Case("job", "job_manual_score_check", {"manual_score": -1}),
    Case("job", "job_run_limit_check", {"run_limit": 0}),
    Case("job", "job_idle_limit_check", {"idle_limit": 0}),
    Case("job", "done_means_result", {"state": "done", "finished_at": NOW}),
    Case("job", "done_means_result", {"state": "ready", "result": "success"}),
    Case("job", "done_means_finished", {"state": "done", "result": "success"}),
    Case("job", "done_means_finished", {"state": "running", "finished_at": NOW}),
    Case(
        "job",
        "unrun_names_its_root_cause",
        {**DONE, "result": "unrun", "reason": "a failed"},
    ),
    Case("job", "unrun_names_its_root_cause", {**DONE, "root_cause": 1}),
    Case("job", "queued_means_unblocked", {"state": "ready", "blocked_by": 1}),
    Case("job", "queued_means_unblocked", {"state": "assigned", "blocked_by": 1}),
    Case("job", "queued_means_unblocked", {"state": "running", "blocked_by": 1}),
    Case("job", "bad_ends_give_a_reason", {**DONE, "result": "failure"}),
    Case("job", "bad_ends_give_a_reason", {**DONE, "result": "cancelled"}),
    Case("job", "source_is_whole", {"repository": None}),
    Case("job", "source_is_whole", {"source_digest": None}),
    Case("job", "digest_is_one", {"source_digest": "main"}),
    Case("build", "has_stages", {"stages": Json({}), "stage_numbers": []}),
    Case("build", "has_stages", {"stages": Json([]), "stage_numbers": []}),
    Case("build", "numbers_every_stage", {"stage_numbers": [0, 1]}),
    Case("edge", "edge_up_stage_check", {"up_stage": -1}),
    Case("edge", "not_on_itself", {"down": 1}),
    Case("edge", "resolved_saw_an_attempt", {"resolved_at": NOW}),
    Case("edge", "resolved_saw_an_attempt", {"up_attempt": 1}),
    Case("worker_token", "is_a_sha256", {"sha256": b"short"}),
    Case("farm_secret", "is_32_bytes", {"value": "short"}),
    Case("api_token", "api_token_sha256_check", {"sha256": b"short"}),
    Case("api_token", "api_token_name_check", {"name": "two words"}),
    Case("api_token", "api_token_project_check", {"project": ""}),
    Case("api_token", "permits_something", {"scopes": "{}"}),
    Case("api_token", "admins_see_all", {"scopes": "{admin}", "project": "https://a"}),
    Case("worker", "worker_slots_check", {"slots": -1}),
    Case("worker", "connected_means_session", {"state": "connected"}),
    Case("worker", "connected_means_session", {"session": "s", "master": "m"}),
    Case("attempt", "lingers_a_week_at_most", {"linger": 0}),
    Case("attempt", "lingers_a_week_at_most", {"linger": 604801}),
    Case("attempt", "attempt_number_check", {"number": 0}),
    Case("attempt", "attempt_reports_check", {"reports": -1}),
    Case("attempt", "attempt_log_length_check", {"log_length": -1}),
    Case("attempt", "ended_has_a_result", {"result": "success"}),
    Case("attempt", "ended_has_a_result", {"finished_at": NOW}),
    Case("attempt", "assigned_to_somebody", {"worker": "ant"}),
    Case("attempt", "assigned_to_somebody", {"assigned_at": NOW}),
    Case("pipeline_job", "pipeline_job_index_check", {"index": -1}),
    Case("pipeline_job", "pipeline_job_stage_check", {"stage": -1}),
    Case("pipeline_job", "pipeline_job_place_check", {"place": -1}),
    Case("pipeline_job", "image_is_a_key", {"image": "../x"}),
    Case("pipeline_job", "what_lingers_has_ended", {"lingers_until": NOW}),
    Case("pipeline_job", "done_means_result", {"state": "done"}),
    Case("pipeline_job", "done_means_result", {"result": "success"}),
    Case("pipeline_job", "bad_ends_give_a_reason", {"state": "done", "result": "timeout"}),
    Case("log_chunk", "log_chunk_start_check", {"start": -1}),
    Case("log_chunk", "log_chunk_length_check", {"length": 0}),
    Case("log_chunk", "log_chunk_index_check", {"name": "lint", "index": -1}),
    Case("log_chunk", "of_a_whole_name", {"name": "lint"}),
    Case("log_chunk", "of_a_whole_name", {"index": 0}),
    Case("duration_sketch", "duration_sketch_counts_check", {"counts": [0.0]}),
    Case("queue_hold", "queue_hold_parked_to_check", {"parked_to": -1}),
    Case("outage", "outage_failure_check", {"failure": ""}),
    Case("failure_rule", "failure_rule_pattern_check", {"pattern": ""}),
    Case("failure_rule", "failure_rule_project_check", {"project": ""}),
    Case("failure_rule", "failure_rule_name_check", {"name": ""}),
    Case("outage", "outage_probes_check", {"probes": -1}),
    Case("outage", "a_probe_is_an_attempt", {"probe_attempt": 1}),
    Case("duration_mark", "duration_mark_single_check", {"single": False}),
    Case("forecast", "three_were_played", {"played": [1.0]}),
    Case("forecast", "an_interval", {"low": 4.0}),
    Case("forecast", "an_interval", {"low": -1.0}),
    Case("forecast_score", "forecast_score_early_check", {"early": -1}),
    Case("forecast_score", "forecast_score_within_check", {"within": -1}),
    Case("forecast_score", "forecast_score_late_check", {"late": -1}),
    Case("forecast_error", "forecast_error_low_check", {"low": [0.0]}),
    Case("forecast_error", "forecast_error_middle_check", {"middle": [0.0]}),
    Case("forecast_error", "forecast_error_high_check", {"high": [0.0]}),
    Case("workflow", "workflow_name_check", {"name": ""}),
    Case("workflow", "workflow_name_check", {"name": "17"}),
    Case("workflow", "workflow_name_check", {"name": "a\nb"}),
    Case("workflow", "workflow_version_check", {"version": 0}),
    Case("workflow", "workflow_generation_check", {"generation": 0}),
    Case(
        "workflow",
        "workflow_result_check",
        {"state": "done", "result": "error", "finished_at": NOW},
    ),
    Case("workflow", "workflow_position_check", {"position": -1}),
    Case("workflow", "workflow_commands_check", {"commands": -1}),
    Case("workflow", "workflow_tries_check", {"tries": -1}),
    Case("workflow", "done_workflow_has_an_end", {"state": "done"}),
    Case("workflow", "parked_workflow_says_why", {"state": "parked"}),
    Case("workflow", "child_names_its_place", {"parent": 1}),
    Case("workflow_event", "workflow_event_n_check", {"generation": 1, "n": -1}),
    Case("workflow_event", "workflow_event_type_check", {"type": "rumour"}),
    Case("workflow_event", "dealt_with_in_a_generation", {"n": 0}),
    Case("workflow_event", "signal_has_a_name", {"name": "x"}),
    Case("workflow_command", "workflow_command_seq_check", {"seq": -1}),
    Case("workflow_command", "workflow_command_kind_check", {"kind": "wish"}),
    Case("workflow_outbox", "workflow_outbox_kind_check", {"kind": "timer"}),
    Case("workflow_outbox", "workflow_outbox_tries_check", {"tries": -1}),
    Case("workflow", "history_of_an_open_workflow_stays", {"history_removed_at": NOW}),
    Case(
        "workflow_collection_wait",
        "workflow_collection_wait_contains_check",
        {"contains": []},
    ),
    Case(
        "workflow_collection_wait",
        "workflow_collection_wait_cell_check",
        {"cell": Json([])},
    ),
    Case("schedule", "schedule_name_check", {"name": "a b"}),
    Case("schedule", "schedule_overlap_check", {"overlap": "both"}),
    Case("schedule", "schedule_catch_up_check", {"catch_up": "some"}),
    Case("schedule", "schedule_catch_up_limit_check", {"catch_up_limit": 101}),
    Case("firing", "firing_state_check", {"state": "gone", "decided_at": NOW}),
    Case("firing", "waits_or_was_decided", {"decided_at": NOW}),
    Case(
        "firing",
        "what_does_not_start_says_why",
        {"state": "failed", "decided_at": NOW},
    ),
    Case("blob", "blob_sha256_check", {"sha256": b"short"}),
    Case("blob", "blob_size_check", {"size": -1}),
    Case("artifact", "artifact_path_check", {"path": ""}),
    Case("artifact", "artifact_path_check", {"path": "/etc/passwd"}),
    Case("artifact", "artifact_path_check", {"path": "../secret"}),
    Case("artifact", "artifact_path_check", {"path": "a/../../secret"}),
    Case("artifact", "artifact_path_check", {"path": "a/.."}),
    Case("edge", "edge_handed_check", {"handed": Json({})}),
    Case("node", "node_scope_check", {"scope": "all"}),
    Case("node", "node_reuse_check", {"reuse": "always"}),
    Case("node", "node_base_check", {"base": b"x"}),
    Case("node", "node_inputs_check", {"inputs": b"x"}),
    Case("node", "node_key_check", {"key": b"x"}),
    Case("node", "provides_as_somebody", {"provides": "side-tag"}),
    Case("collection_wait", "collection_wait_contains_check", {"contains": []}),
    Case("collection_wait", "agrees_on_something", {"axis": "series"}),
    Case("node", "reused_is_whole", {"reused_from": 2}),
    Case("node", "reused_is_whole", {"reused_attempt": 1}),
    Case("node", "not_from_itself", {"reused_from": 1, "reused_attempt": 1}),
    Case("node", "not_from_itself", {"verifies": 1}),
]

#: Not in VALID: what needs a second job.
EDGE: Row = {"up": 1, "down": 2}
OTHERS: dict[str, Row] = {
    "edge": EDGE,
    "duration_mark": {"transaction": "1", "id": 1},  # there is one row, and never another
}


class ConstraintTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connection = psycopg2.connect(fresh_dsn(self))
        self.addCleanup(self.connection.close)
        for table, row in VALID.items():
            self.insert(table, row)
        self.insert("job", {**VALID["job"], "name": "b"})
        self.connection.commit()

    def insert(self, table: str, row: Row) -> None:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        )
        with self.connection.cursor() as cursor:
            cursor.execute(statement, list(row.values()))

    def broken_by(self, table: str, row: Row) -> str | None:
        """The CHECK that refuses the row; None if it is taken."""
        try:
            self.insert(table, row)
        except errors.CheckViolation as error:
            self.assertEqual(error.diag.table_name, table)
            return error.diag.constraint_name
        finally:
            self.connection.rollback()
        return None

    def test_each_broken_row_is_refused_by_the_check_that_it_breaks(self) -> None:
        for case in CASES:
            valid = OTHERS.get(case.table) or VALID[case.table]
            broken = self.broken_by(case.table, {**valid, **case.changes})
            self.assertEqual(broken, case.constraint, str(case))

    def test_each_check_has_a_row_that_breaks_it(self) -> None:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(
                "SELECT conrelid::regclass::text, conname FROM pg_constraint "
                "WHERE contype = 'c' AND conrelid <> 0 "
                "AND connamespace = 'public'::regnamespace"
            )
            checks = {(str(table), str(name)) for table, name in cursor}
        covered = {(case.table, case.constraint) for case in CASES}
        self.assertEqual(checks - covered, set(), "add a case for each of these")
        self.assertEqual(covered - checks, set(), "there are no such checks")

    def test_one_identity_has_one_row(self) -> None:
        with self.assertRaises(errors.UniqueViolation):
            self.insert("job", VALID["job"])

    def test_jobs_without_an_identity_are_never_the_same(self) -> None:
        nameless = {**VALID["job"], "repository": None, "source_digest": None}
        self.insert("job", nameless)
        self.insert("job", nameless)

    def test_a_job_has_one_open_attempt(self) -> None:
        with self.assertRaises(errors.UniqueViolation) as caught:
            self.insert("attempt", {"job": 1, "number": 2})
        self.assertEqual(caught.exception.diag.constraint_name, "attempt_one_open")

    def test_an_edge_is_there_once(self) -> None:
        self.insert("edge", EDGE)
        self.insert("edge", {**EDGE, "up_stage": 0})
        with self.assertRaises(errors.UniqueViolation):
            self.insert("edge", EDGE)

    def test_a_job_is_queued_once(self) -> None:
        self.insert("ready", {"class": 1, "position": 1, "job": 1, "attempt": 1})
        with self.assertRaises(errors.UniqueViolation):
            self.insert("ready", {"class": 1, "position": 2, "job": 1, "attempt": 1})

    def test_a_job_runs_once(self) -> None:
        self.insert("running", {"job": 1, "attempt": 1, "worker": "ant", "class": 1})
        with self.assertRaises(errors.UniqueViolation):
            self.insert("running", {"job": 1, "attempt": 2, "worker": "ant", "class": 1})

    def test_higher_scores_then_older_jobs_come_first(self) -> None:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(
                "SELECT array_agg(job ORDER BY queue_position(score, job)) FROM (VALUES "
                "(500000, 2), (500000, 1), (1000000, (1::bigint << 40) - 1), (0, 3)"
                ") AS it (score, job)"
            )
            self.assertEqual(cursor.fetchone(), ([2**40 - 1, 1, 2, 3],))
