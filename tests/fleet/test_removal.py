"""`nodes down`: what may be deleted by whom, and what is told to those who use it."""

from __future__ import annotations

import pytest

from launcher.errors import ConfigError, Conflict
from launcher.fleet import lease_book
from launcher.fleet.removal import delete_node
from launcher.records.leases import Lease, LeaseState
from launcher.records.paths import holder_id
from tests.fleet.fakes import ZONE, Fake, fake
from tests.fleet.platforms import give_file, pool
from tests.fleet.test_inventory import ADA, lease, make, release

GRACE = holder_id("grace", "desk", 1)
JOB = "20260131-093015123-abc234"


def down(world: Fake, *, force: bool = False) -> tuple[str, list[str]]:
    """The job that was cancelled, and what was told."""
    cancelled: list[str] = []
    told: list[str] = []
    *_, job_id = delete_node(world.platform, "p-1", force=force, cancel_job=cancelled.append, tell=told.append)
    assert cancelled == ([f"ada/{job_id}"] if job_id else [])
    assert not world.nodes.specs
    return job_id, told


def lease_of(world: Fake) -> Lease:
    found = lease_book.read(world.store, ZONE, "p-1")
    assert found is not None
    return found[0]


def test_the_own_job_is_cancelled_first() -> None:
    world = fake()
    make(world)
    lease(world)
    job_id, told = down(world)
    assert job_id == JOB and told[0] == f"cancelling job {JOB}, which uses the node"
    assert (lease_of(world).state, lease_of(world).reason) == (LeaseState.CONDEMNED, "deleted by ada")


def test_a_session_of_ones_own_that_runs_nothing_is_told_to_be_gone() -> None:
    world = fake()
    make(world)
    lease(world, job="")
    assert down(world)[0] == ""
    assert lease_of(world).state is LeaseState.CONDEMNED


def test_somebody_elses_session_needs_force_and_is_named() -> None:
    world = fake()
    make(world)
    lease(world, holder=GRACE)
    with pytest.raises(Conflict, match=rf"in use by {GRACE}, which runs ada/{JOB} \(HELD\).*nodes down p-1 --force"):
        down(world)
    assert world.nodes.specs and lease_of(world).state is LeaseState.HELD
    assert down(world, force=True)[0] == ""


def test_a_warm_node_of_somebody_else_needs_force_unless_the_pool_is_shared() -> None:
    world = fake()
    make(world)
    lease(world, holder=GRACE, owner="grace")
    release(world)
    with pytest.raises(Conflict, match=r"kept warm for grace.*--force"):
        down(world)
    assert lease_of(world).state is LeaseState.WARM
    shared = fake(shared_pool=True)
    make(shared)
    lease(shared, holder=GRACE, owner="grace")
    release(shared)
    down(shared)
    down(world, force=True)


@pytest.mark.parametrize("shared", [True, False])
def test_a_warm_node_of_a_shared_pool_is_everybodys(shared: bool) -> None:
    world = fake(control_bucket="c")
    give_file(world, pools={"a": pool(shared=shared), "b": pool(shared=not shared)})
    make(world, labels={"launcher-platform": "p", "launcher-owner": "grace", "launcher-pool": "a"})
    lease(world, holder=GRACE, owner="grace")
    release(world)
    if shared:
        down(world)
    else:
        with pytest.raises(Conflict, match=r"kept warm for grace.*--force"):
            down(world)


def test_a_session_that_takes_the_node_again_while_its_job_is_cancelled_keeps_nothing() -> None:
    world = fake()
    make(world)
    lease(world)

    def cancel_job(job: str) -> None:
        release(world)
        lease_book.change(world.store, ZONE, "p-1", lambda it, _: it.hold(ADA, "client", job="ada/next/1"))

    delete_node(world.platform, "p-1", force=False, cancel_job=cancel_job, tell=lambda line: None)
    assert not world.nodes.specs and lease_of(world).state is LeaseState.CONDEMNED


@pytest.mark.parametrize("name", ["p", "p-", "p-1-", "p-10", "1", "P-1"])
def test_a_node_is_deleted_by_its_exact_name(name: str) -> None:
    world = fake()
    make(world)
    with pytest.raises(ConfigError, match=f"has no node {name}\\."):
        delete_node(world.platform, name, force=True, cancel_job=pytest.fail, tell=pytest.fail)
    assert world.nodes.specs


def test_a_node_that_the_launcher_did_not_make_is_never_deleted() -> None:
    world = fake()
    make(world)
    lease(world, external=True)
    with pytest.raises(ConfigError, match="was not made by platform p"):
        down(world, force=True)
    assert world.nodes.specs and "delete" not in world.calls.made
