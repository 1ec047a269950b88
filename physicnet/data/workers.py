"""Runs one function on many tasks: here, one after the other, or on the workers of a cluster."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from physicnet.data.budget import Budget
from physicnet.fields import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")
PATIENCE = 30  # seconds that a scheduler may take to answer


@runtime_checkable
class Workers(Protocol):
    """Something that calls a function for each task."""

    def budget(self, limit: int, function: Callable[..., Any]) -> Budget:
        """Return what a task of `function` may take where each process has `limit` bytes.

        Raises:
            DataError: if that is too little.
        """
        ...

    def each(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Give each task with its result, in any order."""
        ...


class Here:
    """This process: one task after the other; the threads are inside the tasks."""

    def budget(self, limit: int, function: Callable[..., Any]) -> Budget:  # noqa: ARG002
        """Return the budget of this process; see `Workers`."""
        return Budget.within(limit)

    def each(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Give each task with its result, in order."""
        for task in tasks:
            yield task, function(task)


class Cluster:
    """The workers of a `dask.distributed` scheduler; they see the folders under the same paths as we do."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def budget(self, limit: int, function: Callable[..., Any]) -> Budget:
        """Return the smallest budget of all workers, divided among the tasks that each runs at once; see `Workers`."""
        budgets: dict[str, Budget] = self._client.run(_budget_of_worker, limit, function)
        return Budget(*(min(sizes) for sizes in zip(*(vars(one).values() for one in budgets.values()), strict=True)))

    def each(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Give each task with its result, as they come."""
        from distributed import as_completed

        futures = {self._client.submit(function, task, pure=False): task for task in tasks}
        done = as_completed(futures, with_results=True, loop=self._client.loop)  # type: ignore[no-untyped-call]
        for future, result in done:
            yield futures.pop(future), result  # the worker holds a result for as long as somebody has its future


def _budget_of_worker(limit: int, _function: Callable[..., Any], *, dask_worker: Any) -> Budget:
    """Measure in a worker, which has loaded the libraries of the function by now: it has arrived as an argument."""
    return Budget.within(limit, tasks=dask_worker.state.nthreads)


@contextmanager
def workers_at(address: str | None) -> Iterator[Workers]:
    """Give the workers of the cluster at an address (`tcp://host:port`), or this process for None.

    Raises:
        DataError: if no scheduler answers there, or it has no worker.
    """
    if address is None:
        yield Here()
        return
    from distributed import Client

    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise DataError(
            f"no scheduler of a cluster answers at ingest.cluster = {address!r} ({error}); start one with "
            "`dask scheduler`, or write null to work on this machine"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise DataError(
                f"the cluster at ingest.cluster = {address!r} has no worker; start some with `dask worker {address}`"
            ) from None
        yield Cluster(client)
