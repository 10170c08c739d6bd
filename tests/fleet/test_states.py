"""Every state that the Cloud TPU API can name has a reaction, checked against Google's own enumerations."""

from __future__ import annotations

from google.cloud import tpu_v2

from launcher.fleet import waiting


def test_every_queued_resource_state_has_a_reaction() -> None:
    assert set(waiting.QUEUED_RESOURCE_STATES) == {state.name for state in tpu_v2.QueuedResourceState.State}


def test_every_node_state_has_a_reaction() -> None:
    assert set(waiting.NODE_STATES) == {state.name for state in tpu_v2.Node.State}


def test_only_active_and_ready_mean_that_it_can_be_used() -> None:
    for table, ready in ((waiting.QUEUED_RESOURCE_STATES, "ACTIVE"), (waiting.NODE_STATES, "READY")):
        assert [state for state, (reaction, _) in table.items() if reaction == waiting.READY] == [ready]


def test_what_cannot_become_usable_is_given_up_and_all_else_is_waited_for() -> None:
    given_up = {
        "queued resource": {"SUSPENDING", "SUSPENDED", "FAILED", "DELETING"},
        "node": {"DELETING", "STOPPED", "STOPPING", "PREEMPTED", "TERMINATED", "HIDING", "HIDDEN"},
    }
    tables = {"queued resource": waiting.QUEUED_RESOURCE_STATES, "node": waiting.NODE_STATES}
    assert {
        what: {state for state, (reaction, _) in table.items() if reaction == waiting.FAIL}
        for what, table in tables.items()
    } == given_up
