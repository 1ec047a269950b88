"""`dvc repro` and the flow are one thing: whichever comes first, the other finds nothing to do, and nothing differs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_project import STAGES, Finished, environment, make_project, run

from flows import pipeline as module
from flows.pipeline import pipeline


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch, _server: None) -> Callable[[Path], dict[str, str]]:
    """Runs the flow in a project."""

    def run_flow(project: Path) -> dict[str, str]:
        with monkeypatch.context() as patch:
            patch.chdir(project)
            for name in set(environment(project)) - set(os.environ) | {"PATH", "MLFLOW_TRACKING_URI"}:
                patch.setenv(name, environment(project)[name])
            return pipeline()

    return run_flow


def made(project: Path) -> tuple[str, set[Path]]:
    """The record of what was made from what, and the objects in the cache."""
    cache = project / ".dvc" / "cache" / "files"
    return (project / "dvc.lock").read_text(), {path.relative_to(cache) for path in cache.rglob("*") if path.is_file()}


def test_in_either_order_the_second_does_nothing_and_both_make_the_same(
    finished: Finished, tmp_path: Path, flow: Callable[[Path], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_dvc, by_flow = finished.copy(tmp_path / "by_dvc"), tmp_path / "by_flow"
    make_project(by_flow)
    lock, cache = made(by_dvc)
    assert len(cache) >= len(STAGES)
    with monkeypatch.context() as patch:
        patch.setattr(module.SpareDvc, "run", lambda *_, **__: pytest.fail("something was run"))
        assert flow(by_dvc) == dict.fromkeys(STAGES, "Unchanged")
    assert made(by_dvc) == (lock, cache)

    assert flow(by_flow) == dict.fromkeys(STAGES, "Ran")
    assert made(by_flow) == (lock, cache)
    assert "Running stage" not in run(by_flow, "dvc", "repro")
    assert made(by_flow) == (lock, cache)
