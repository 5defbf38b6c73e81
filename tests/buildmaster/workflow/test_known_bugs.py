"""Where to find what proves each promise, and each bug of others that is none here.

The left sides are the words of the lists that the engine was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from unittest import TestCase

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

_BUGS = "tests.buildmaster.orchestration.test_others_bugs.BugTests.test_"
_STEPS = "tests.buildmaster.orchestration.test_stepping."
_PROMISES = "tests.buildmaster.orchestration.test_promises.PromiseTests.test_"
_GRAPHS = "tests.buildmaster.orchestration.test_graphs."
_PLAY = "tests.buildmaster.workflow.test_execution.PlayTests.test_"
_CHANGE = "tests.buildmaster.workflow.test_execution.ChangeTests.test_"
_LAWS = "tests.buildmaster.workflow.test_execution.LawTests.test_"
_DEFINITION = "tests.buildmaster.workflow.test_definition."
_SITE = "tests.buildmaster.http.test_workflows.WorkflowTests.test_"
_HOOKS = "tests.buildmaster.http.test_workflows.WebhookTests.test_"
_WHOLE = "tests.test_whole_workflow.WorkflowTests.test_"

#: What home-made engines get wrong.
BUGS: Mapping[str, str] = {
    "non-determinism from sets, dict order, time, uuid, gather": (
        "the_order_of_sets_and_mappings_time_ids_and_gather"
    ),
    "positional ids": "positional_ids",
    "history growth": "history_growth",
    "code deploy while runs sleep": "a_deploy_while_they_sleep",
    "two-row writes": "two_writes_that_belong_together",
    "missing unique keys": "missing_unique_keys",
    "timers lost on restart or fired twice": "timers_lost_on_a_restart_or_fired_twice",
    "timeout sweep ignores suspension": "a_sweep_of_timeouts_that_ignores_who_is_parked",
    "event and timeout both win": "an_event_and_its_timeout_both_win",
    "stale attempt acks": "acks_of_a_stale_try",
    "running without a lease": "running_without_a_lease",
    "batch abort strands siblings": "a_batch_that_aborts_strands_nobody",
    "parent finished before children exist": "a_parent_that_ends_before_its_children_exist",
    "polling storms": "polling_storms",
    "a thread per waiter": "a_thread_for_each_waiter",
    "retries without classification": "retries_without_a_class_that_hit_who_is_slow",
    "long transactions": "long_transactions",
    "silent signal loss": "silent_loss_of_signals",
    "clock skew": "clocks_that_differ",
    "poison workflow blocking its queue": "a_poison_workflow_that_blocks_the_others",
}

#: What a workflow can rely on.
FEATURES: Mapping[str, Iterable[str]] = {
    "run, signals, queries": (
        f"{_PLAY}the_notes_handler_goes_its_way",
        f"{_PLAY}handlers_that_wait_are_waited_for_and_unknown_signals_are_kept",
        f"{_PLAY}queries_change_nothing",
    ),
    "farm jobs": (
        f"{_STEPS}StepTests.test_jobs_start_with_the_step_and_their_ends_come_back",
        f"{_STEPS}StepTests.test_builds_are_submitted_once_and_awaited",
    ),
    "graphs, jobs that are ensured, collections": (
        f"{_GRAPHS}RunGraphTests.test_a_graph_is_one_run_and_told_node_by_node",
        f"{_GRAPHS}EnsureTests.test_ten_who_want_it_at_once_get_one",
        f"{_GRAPHS}EnsureTests.test_a_master_that_dies_before_the_commit_has_started_none",
        f"{_GRAPHS}CollectionTests.test_whoever_comes_first_it_ends_with_the_last",
        f"{_WHOLE}an_update_of_two_repositories_goes_out_once",
    ),
    "local actions": (
        f"{_STEPS}LocalCallTests.test_what_fails_is_tried_again_by_its_policy",
        f"{_PLAY}the_failure_of_a_local_action_tells_its_kind",
    ),
    "wait_condition, sleep": (
        f"{_PLAY}a_wait_ends_with_its_time_and_an_event_after_that_changes_nothing",
        f"{_PLAY}a_condition_that_holds_drops_its_timer",
    ),
    "now, uuid, random": (f"{_PLAY}time_ids_and_chance_are_the_same_at_each_replay",),
    "child workflows": (
        f"{_PLAY}a_child_is_waited_for_and_may_fail",
        f"{_STEPS}StepTests.test_a_parent_hears_of_its_childs_end",
    ),
    "gather, first": (
        f"{_PLAY}who_comes_first_wins_and_the_other_is_dropped",
        f"{_LAWS}answers_in_any_order_never_diverge",
    ),
    "continue_as_new": (
        f"{_PLAY}it_goes_on_with_a_new_history",
        f"{_STEPS}StepTests.test_signals_that_wait_go_to_the_next_generation_and_are_told"
        "_once",
    ),
    "patched": (f"{_CHANGE}patched_lets_old_workflows_go_the_old_way",),
    "id-reuse policies": (
        f"{_SITE}policies_for_a_name_that_is_taken",
        f"{_PROMISES}who_starts_one_name_at_once_starts_one",
        f"{_PROMISES}who_rejects_a_taken_name_is_told_so_in_a_race_too",
    ),
    "execution_timeout": (
        f"{_PLAY}an_execution_timeout_ends_it_wherever_it_is",
        f"{_PROMISES}a_time_out_ends_it_with_its_jobs",
        f"{_PROMISES}a_time_out_ends_also_one_whose_code_cannot_be_run",
    ),
    "a step is one transaction": (
        f"{_STEPS}TogetherTests.test_a_step_that_is_not_committed_never_was",
        f"{_BUGS}two_writes_that_belong_together",
        f"{_WHOLE}killed_at_any_time_each_build_is_submitted_once",
    ),
    "signal before run": (
        f"{_PLAY}signals_that_come_early_and_in_any_order_are_there_when_they_are_needed",
        f"{_PROMISES}signals_before_run_while_no_master_runs_and_twice",
    ),
    "duplicate dedupe key": (
        f"{_BUGS}missing_unique_keys",
        f"{_HOOKS}a_signed_message_is_a_signal_once",
    ),
    "signal to a closed one": (
        f"{_PROMISES}a_signal_to_one_that_ended_is_recorded_and_answered_so",
    ),
    "unknown signal name": (f"{_PROMISES}an_unknown_signal_is_kept_and_warned_of",),
    "event against timeout": (f"{_BUGS}an_event_and_its_timeout_both_win",),
    "divergence parks": (
        f"{_STEPS}StepTests.test_changed_code_parks_it_and_the_old_code_goes_on",
        f"{_CHANGE}a_change_that_the_history_contradicts_is_found_and_shown",
    ),
    "an unexpected exception parks": (
        f"{_STEPS}StepTests.test_an_exception_parks_it_and_it_goes_on_after_a_fix",
    ),
    "payload of 256 KiB": (
        f"{_DEFINITION}DefinitionTests.test_payloads_are_json_of_a_limited_size",
        f"{_PROMISES}what_a_local_action_returns_has_a_limit",
    ),
    "history warned of at 2,000": (f"{_STEPS}StepTests.test_a_long_history_is_warned_of",),
    "history of 10,000 at most": (
        f"{_PLAY}a_history_has_an_end",
        f"{_PROMISES}a_history_of_ten_thousand_events_is_the_end",
    ),
    "waiting costs nothing": (f"{_BUGS}a_thread_for_each_waiter", f"{_BUGS}polling_storms"),
    "cancellation tree": (
        f"{_STEPS}StepTests.test_a_cancel_reaches_jobs_and_cleans_up",
        f"{_STEPS}StepTests.test_a_child_ends_with_its_parent_or_is_left",
        f"{_PLAY}only_the_first_cancel_is_raised",
    ),
    "shielded clean-up": (
        f"{_PLAY}a_cancel_is_raised_once_and_clean_up_is_shielded",
        f"{_PLAY}clean_up_has_a_time_of_its_own",
    ),
    "test kit": (
        f"{_PLAY}the_values_of_the_kit_can_be_wrong",
        f"{_LAWS}steps_may_be_cut_anywhere",
        f"{_WHOLE}the_command_line_shows_and_replays_it",
    ),
    "each wait is named and visible": (f"{_SITE}one_goes_from_its_start_to_its_end",),
    "idempotency key": (
        f"{_PROMISES}a_call_has_one_key_for_all_its_tries_and_no_other_call_has_it",
        f"{_STEPS}TogetherTests.test_a_call_is_made_again_with_its_key_when_its_master"
        "_died",
    ),
}


class TableTests(SynchronousTestCase):
    def test_each_has_its_test(self) -> None:
        names = [f"{_BUGS}{name}" for name in BUGS.values()]
        names += [name for promised in FEATURES.values() for name in promised]
        missing = []
        for name in names:
            path, _, method = name.rpartition(".")
            found = TestLoader().loadByName(path)
            if method not in {_method(each) for each in _cases(found)}:
                missing.append(name)
        self.assertEqual(missing, [])
        self.assertEqual(len(set(BUGS.values())), 20)


def _cases(suite: object) -> Iterable[TestCase]:
    for each in getattr(suite, "_tests", ()):
        yield from _cases(each) if hasattr(each, "_tests") else [each]


def _method(case: TestCase) -> str:
    return str(getattr(case, "_testMethodName", ""))
