import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from dvc.lock import LockError
from prefect.artifacts import Artifact

from flows import pipeline as module
from flows.pipeline import StageFailedError, Transcript, metric_rows, patiently, pipeline, plan

STAGES = {
    "make": {"cmd": "cp raw made", "deps": ["raw"], "outs": ["made"]},
    "side": {"cmd": "cp raw aside", "deps": ["raw"], "outs": ["aside"]},
    "score": {
        "cmd": "echo measuring && cat made aside > metrics.json",
        "deps": ["made", "aside"],
        "params": ["score"],
        "metrics": [{"metrics.json": {"cache": False}}],
    },
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project in the current folder; its stages measure something without knowing physicnet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").write_text("\n")
    (tmp_path / "aside").write_text("")
    (tmp_path / "params.yaml").write_text("score: 1")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody listens there
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    return tmp_path


def repro() -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.usefixtures("_server")
def test_the_flow_does_the_work_of_dvc_repro_and_no_more(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "raw").write_text("")
    stages = {**STAGES, "make": {**STAGES["make"], "cmd": """echo '{"ours": {"rain": {"rmse": 0.5}}}' > made"""}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    assert pipeline() == {"make": "Ran", "side": "Ran", "score": "Ran"}
    assert "measuring" in caplog.text
    assert "Data and pipelines are up to date" in repro()
    results = Artifact.get("results")
    assert results is not None
    assert results.data == '[{"model": "ours", "variable": "rain", "rmse": 0.5}]'

    with monkeypatch.context() as patch:
        patch.setattr(module.ProcessGroups, "run", lambda *_: pytest.fail("something was started"))
        assert pipeline() == {"make": "Unchanged", "side": "Unchanged", "score": "Unchanged"}

    (project / "params.yaml").write_text("score: 2")
    assert pipeline() == {"make": "Unchanged", "side": "Unchanged", "score": "Ran"}
    (project / "params.yaml").write_text("score: 1")
    assert pipeline()["score"] == "Cached"
    (project / "params.yaml").write_text("score: 3")
    repro()
    assert set(pipeline().values()) == {"Unchanged"}


@pytest.mark.usefixtures("_server")
def test_a_failed_stage_fails_the_flow_but_not_its_siblings(project: Path) -> None:
    stages = {**STAGES, "make": {**STAGES["make"], "cmd": "exit 3"}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(StageFailedError, match="not up to date: make, score"):
        pipeline()
    assert (project / "aside").read_text() == "\n"
    stages_artifact = Artifact.get("stages")
    assert stages_artifact is not None
    assert "| side | Ran |" in str(stages_artifact.data)


def test_the_order_and_the_stale_stages_are_dvcs(project: Path) -> None:
    order, stale = plan()
    assert order == {"make": [], "side": [], "score": ["make", "side"]}
    assert list(order)[-1] == "score"
    assert stale == {"make", "side", "score"}
    repro()
    assert plan()[1] == set()
    (project / "made").unlink()
    assert plan()[1] == {"make", "score"}


def test_the_transcript_knows_what_dvc_did_with_this_stage() -> None:
    lines = {
        "Running stage 'train':": "Ran",
        "Stage 'train' is cached - skipping run, checking out outputs": "Cached",
        "Stage 'train' didn't change, skipping": "Unchanged",
        "Running stage 'other':": "Unchanged",
    }
    for line, outcome in lines.items():
        transcript = Transcript("train")
        transcript.read(line)
        assert transcript.outcome == outcome
        assert not transcript.is_locked


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: Unable to acquire lock. Most likely another DVC process is running",
        "ERROR: failed to reproduce 'train': Unable to acquire lock. Most likely another DVC process is running",
        "ERROR: 'models/model' is busy, it is being blocked by:",
    ],
)
def test_the_transcript_knows_dvcs_words_for_a_lock_before_and_after_the_command(line: str) -> None:
    transcript = Transcript("train")
    for each in ("Running stage 'train':", line):
        transcript.read(each)
    assert transcript.is_locked


def test_a_stage_that_speaks_of_locks_is_not_dvc() -> None:
    transcript = Transcript("train")
    transcript.read("could not open the database: Unable to acquire lock")
    assert not transcript.is_locked


def test_a_lock_is_waited_for_with_growing_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.random, "uniform", lambda *_: 1.0)
    pauses: list[float] = []

    def action() -> str:
        if len(pauses) < 7:
            raise LockError("busy")
        return "done"

    assert patiently(action, pauses.append) == "done"
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)

    def action() -> None:
        raise LockError("busy")

    with pytest.raises(LockError, match="busy"):
        patiently(action, lambda _: None)


@pytest.mark.usefixtures("_server")
def test_a_stage_waits_until_another_dvc_has_left(project: Path) -> None:
    stages = {"slow": {"cmd": "touch begun; sleep 5; touch slow", "outs": ["slow"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    other = subprocess.Popen([sys.executable, "-m", "dvc", "repro"])
    while not (project / "begun").exists():
        time.sleep(0.05)
    assert pipeline() == {"slow": "Unchanged"}
    assert other.wait(30) == 0


def test_metrics_become_rows_with_a_column_for_each_score() -> None:
    metrics = {"ours": {"rain": {"rmse": 1, "mae": 2}}, "headline": {"rain": {"worst": 3}}}
    assert metric_rows(metrics) == [{"model": "ours", "variable": "rain", "rmse": 1, "mae": 2}]
