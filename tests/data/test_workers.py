from pathlib import Path
from types import SimpleNamespace

import pytest
from archives import outputs, run
from samples import raw_dataset

from physicnet.data import workers
from physicnet.data.budget import Budget
from physicnet.data.workers import Cluster, Here, workers_at
from physicnet.fields import DataError


def test_here_tasks_are_done_in_order() -> None:
    with workers_at(None) as crew:
        assert isinstance(crew, Here)
        assert list(crew.each(abs, [-1, 2, -3])) == [(-1, 1), (2, 2), (-3, 3)]


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    with (
        pytest.raises(
            DataError, match=r"no scheduler of a cluster answers at ingest\.cluster = 'tcp://127\.0\.0\.1:1'"
        ),
        workers_at("tcp://127.0.0.1:1"),
    ):
        pass


def test_the_budget_of_a_cluster_is_that_of_its_smallest_worker_for_each_of_its_tasks() -> None:
    class Client:
        def run(self, function: object, limit: int, task: object) -> dict[str, Budget]:
            assert (function, limit, task) == (workers._budget_of_worker, 2**30, abs)
            return {"a": Budget(5, 2, 70), "b": Budget(4, 2, 90)}

    assert Cluster(Client()).budget(2**30, abs) == Budget(4, 2, 70)


def test_a_worker_divides_its_memory_among_its_threads() -> None:
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=4))
    alone, shared = Budget.within(2**36), workers._budget_of_worker(2**36, abs, dask_worker=worker)
    assert shared.free == pytest.approx(alone.free / 4, rel=0.01)


def test_a_cluster_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(workers, "PATIENCE", 1)
    with (
        LocalCluster(n_workers=0, processes=True, host="127.0.0.1", dashboard_address=None) as cluster,
        pytest.raises(DataError, match=r"the cluster at ingest\.cluster = '.*' has no worker; start some with"),
        workers_at(cluster.scheduler_address),
    ):
        pass


def test_two_workers_of_a_cluster_give_the_same_bytes(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    for index, name in enumerate("ab"):
        raw_dataset(7, first=7 * index, seed=index).to_netcdf(raw / f"{name}.nc")
    (raw / "c.nc").write_text("<html>")
    monkeypatch.setattr("physicnet.fields.SHARD_BYTES", 3 * 4 * 6 * 9)
    run(raw, coarsen=2)
    places = []
    real = Cluster.each

    def each(self: Cluster, function: object, tasks: object) -> object:
        places.append(len(self._client.nthreads()))  # type: ignore[attr-defined]  # what the scheduler says now
        return real(self, function, tasks)  # type: ignore[arg-type]

    monkeypatch.setattr(Cluster, "each", each)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, memory_limit=0
    ) as cluster:
        run(raw, tmp_path / "cluster", coarsen=2, cluster=cluster.scheduler_address)
    assert places == [2, 2]
    assert outputs(tmp_path / "cluster") == outputs(raw.parent)
