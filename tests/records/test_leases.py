from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from launcher.fleet import lease_book
from launcher.records import codec, signing
from launcher.records.leases import TTL_S, Lease, LeaseRefused, LeaseState, reserve
from launcher.records.swap import Stored, create_once, same_token, swap
from tests.records.store import MemoryStore


def new(holder: str = "job/1") -> Lease:
    return reserve(
        resource="q", zone="z", platform="p", owner="ada", holder=holder, accelerator="v5litepod-1", spot=False
    )


def test_a_lease_goes_from_reserved_to_held_to_condemned() -> None:
    held = new().hold("job/1", "client").hold("job/1", "worker")
    assert (held.state, held.writer) == (LeaseState.HELD, "worker")
    condemned = held.condemn("done", by="job/1", updated=0, now=0)
    assert (condemned.state, condemned.reason) == (LeaseState.CONDEMNED, "done")


def test_every_transition_carries_a_token_of_its_own() -> None:
    reserved = new()
    held = reserved.hold("job/1", "client")
    assert len({reserved.token, held.token, held.renew("job/1").token}) == 3


def test_a_condemned_lease_never_lives_again() -> None:
    dead = new().condemn("x", by="job/1", updated=0, now=0)
    for step in (
        lambda: dead.hold("job/1", "client"),
        lambda: dead.renew("job/1"),
        lambda: dead.release("job/1"),
        lambda: dead.drain(5, "y"),
        lambda: dead.condemn("y", by="job/1", updated=0, now=10**9),
    ):
        with pytest.raises(LeaseRefused, match="CONDEMNED"):
            step()


def test_an_expired_lease_cannot_be_taken_only_condemned() -> None:
    held = new().hold("job/1", "client")
    assert held.expired(0, TTL_S)
    with pytest.raises(LeaseRefused):
        held.hold("other/1", "client", expired=True)
    assert held.condemn("expired", by="reaper", updated=0, now=TTL_S).state is LeaseState.CONDEMNED


def test_nobody_but_the_holder_condemns_a_live_lease() -> None:
    held = new().hold("job/1", "client")
    with pytest.raises(LeaseRefused, match="job/1"):
        held.condemn("idle", by="reaper", updated=0, now=TTL_S - 1)


def test_a_draining_lease_is_condemned_by_others_only_after_its_deadline() -> None:
    draining = new().hold("job/1", "client").drain(100, "max lifetime")
    with pytest.raises(LeaseRefused):
        draining.condemn("max lifetime", by="reaper", updated=90, now=99)
    assert draining.condemn("max lifetime", by="reaper", updated=90, now=100).state is LeaseState.CONDEMNED


def test_a_warm_lease_is_taken_by_anyone_and_never_expires_by_its_time_to_live() -> None:
    warm = new().hold("job/1", "client").release("job/1")
    assert not warm.expired(0, 10**9)
    assert warm.hold("other/1", "client").holder == "other/1"


def test_a_lost_answer_is_recognised_as_ones_own_write() -> None:
    store = MemoryStore(lose_answers=1)
    lease = new()
    assert swap(store, "n", codec.encode(lease), 0) is not None
    other = codec.encode(new("other/1"))
    assert swap(store, "n", other, 0) is None


def test_the_first_creator_wins_and_the_second_reads_it() -> None:
    store = MemoryStore()
    first, second = codec.encode(new()), codec.encode(new("other/1"))
    assert create_once(store, "n", first) == first
    assert create_once(store, "n", second) == first
    assert not same_token(first, second)


def test_condemning_twice_is_the_same_as_once() -> None:
    store = MemoryStore()
    lease_book.create(store, new())
    lease_book.condemn(store, "z", "q", "first", by="job/1")
    assert lease_book.condemn(store, "z", "q", "second", by="job/1").reason == "first"


class Interleavings(RuleBasedStateMachine):
    """Two attempts and a reaper at one record, with stale reads: never two holders, never a live holder condemned."""

    @initialize()
    def start(self) -> None:
        self.store = MemoryStore()
        lease_book.create(self.store, new("a/1"))
        self.read: dict[str, Stored] = {}

    @rule(actor=st.sampled_from(["a/1", "b/1", "reaper"]))
    def look(self, actor: str) -> None:
        stored = self.store.read("leases/z/q.json")
        assert stored is not None
        self.read[actor] = stored

    @rule(seconds=st.floats(1, 400))
    def time_passes(self, seconds: float) -> None:
        self.store.now += seconds

    @rule(
        actor=st.sampled_from(["a/1", "b/1", "reaper"]),
        action=st.sampled_from(["hold", "renew", "release", "condemn", "drain"]),
    )
    def act_on_what_was_read(self, actor: str, action: str) -> None:
        stored = self.read.get(actor)
        if stored is None:
            return
        lease = codec.decode(Lease, stored.data)
        try:
            wanted = {
                "hold": lambda: lease.hold(actor, "client"),
                "renew": lambda: lease.renew(actor),
                "release": lambda: lease.release(actor),
                "condemn": lambda: lease.condemn("x", by=actor, updated=stored.updated, now=stored.now),
                "drain": lambda: lease.drain(stored.now + 60, "x"),
            }[action]()
        except LeaseRefused:
            return
        before = self.store.read("leases/z/q.json")
        assert before is not None
        written = swap(self.store, "leases/z/q.json", codec.encode(wanted), stored.generation)
        if written is None:
            return
        was = codec.decode(Lease, before.data)
        assert was.state is not LeaseState.CONDEMNED
        taken = wanted.state is LeaseState.HELD and wanted.holder != was.holder
        assert not taken or was.state is LeaseState.WARM
        if wanted.state is LeaseState.CONDEMNED and actor != was.holder:
            late = was.state is LeaseState.DRAINING and before.now >= was.deadline
            assert was.state is LeaseState.WARM or late or was.expired_as(before)

    @invariant()
    def the_record_always_reads(self) -> None:
        if hasattr(self, "store"):
            assert lease_book.read(self.store, "z", "q") is not None


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.text(), st.text())
def test_a_signature_fits_its_own_text_and_key_only(text: str, other: str) -> None:
    key = signing.new_key()
    signature = signing.sign(key, text)
    assert signing.verify(key, text, signature)
    assert signing.verify(key, other, signature) == (other == text)
    assert not signing.verify(signing.new_key(), text, signature)
