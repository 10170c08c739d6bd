from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from launcher.records import paths

# Cloud TPU API v2: ids of queued resources and nodes.
API_ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
TIMES = st.floats(1.6e9, 4e9)


@given(TIMES, TIMES)
def test_job_ids_sort_by_time_to_the_millisecond(one: float, other: float) -> None:
    early, late = sorted([one, other])
    if int(early * 1000) < int(late * 1000):
        assert paths.new_job_id(early) < paths.new_job_id(late)


@given(TIMES, st.integers(1, 999))
def test_ids_made_of_a_job_id_are_valid_in_the_api_and_begin_with_the_platform(now: float, attempt: int) -> None:
    job_id = paths.new_job_id(now)
    assert paths.JOB_ID.fullmatch(job_id)
    resource = paths.queued_resource_id("a-platform-name-xyz", job_id, attempt)
    assert API_ID.fullmatch(resource) and API_ID.fullmatch(paths.node_id(resource))
    assert paths.node_id(resource).startswith("a-platform-name-xyz-")


@given(st.lists(st.integers(0, 10**15), unique=True))
def test_log_chunks_list_in_byte_order(offsets: list[int]) -> None:
    job = paths.JobPaths("ada", "j")
    names = sorted(job.log_chunk(1, 0, 0, offset) for offset in offsets)
    prefix = job.log_prefix(1, 0, 0)
    assert [int(name[len(prefix) :]) for name in names] == sorted(offsets)


def test_two_ids_of_one_moment_differ() -> None:
    assert len({paths.new_job_id(1.7e9) for _ in range(1000)}) == 1000
