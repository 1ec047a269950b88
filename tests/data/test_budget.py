import os

import pytest

from physicnet.data.budget import COPIES, SHARD_COPIES, SMALLEST, Budget
from physicnet.fields import SHARD_BYTES, DataError


def test_a_limit_that_the_program_alone_takes_is_refused() -> None:
    with pytest.raises(DataError, match=r"ingest\.memory_limit is 1 MiB, but the program and the smallest blocks of 1"):
        Budget.within(2**20)


def test_a_limit_is_divided_among_the_tasks_that_run_at_once() -> None:
    alone, half = Budget.within(2**40), Budget.within(2**40, tasks=2)
    assert half.free == pytest.approx(alone.free / 2, rel=1e-3)
    with pytest.raises(DataError, match=r"of 10000 task\(s\) at once take"):
        Budget.within(2**40, tasks=10000)


def test_blocks_and_a_shard_stay_within_what_is_free() -> None:
    for limit in (2**32, 2**33, 2**36):
        budget = Budget.within(limit)
        assert budget.block >= SMALLEST
        assert COPIES * budget.block + SHARD_COPIES * SHARD_BYTES <= budget.free < limit


def test_threads_are_as_many_as_memory_and_cores_allow() -> None:
    budget = Budget(1, 1, 100)
    assert budget.threads_for(60, 20, "it") == 1
    assert budget.threads_for(1, 0, "it") == min(100, len(os.sched_getaffinity(0)))


def test_work_for_which_not_even_one_thread_has_memory_is_refused() -> None:
    with pytest.raises(DataError, match=r"the sums takes 3 MiB, but ingest\.memory_limit leaves 1 MiB; raise it by 3"):
        Budget(1, 1, 2**20).threads_for(2 * 2**20, 2**20, "the sums")
