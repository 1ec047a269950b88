import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dvc_folder
import psutil
import pytest
import yaml
from dvc.lock import LockError
from dvc_project import STAGES
from mounting import small_disk
from prefect.artifacts import Artifact
from waiting import pid_in

from flows import pipeline as module
from flows.pipeline import StageFailedError, Transcript, duration, metric_rows, patiently, pipeline, plan
from physicnet.execution import Execution
from physicnet.tracking.executions import Owner


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
        patch.setattr(module.SpareDvc, "run", lambda *_, **__: pytest.fail("something was run"))
        assert pipeline() == {"make": "Unchanged", "side": "Unchanged", "score": "Unchanged"}

    (project / "params.yaml").write_text("score: 2")
    assert pipeline() == {"make": "Unchanged", "side": "Unchanged", "score": "Ran"}
    (project / "params.yaml").write_text("score: 1")
    assert pipeline()["score"] == "Cached"
    (project / "params.yaml").write_text("score: 3")
    repro()
    assert set(pipeline().values()) == {"Unchanged"}


@pytest.mark.usefixtures("_server")
def test_the_history_and_the_flow_name_each_other(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, str] = {}

    @contextmanager
    def mirrored_execution(root: Path, name: str, tags: dict[str, str]) -> Iterator[Execution]:
        told.update(tags, name=name)
        yield Execution(root, Owner({"physicnet.process": "1@1.0"}, name, tags))

    def open_it(execution: Execution) -> None:
        execution.run_id = "abc123"

    monkeypatch.setattr(module, "mirrored_execution", mirrored_execution)
    monkeypatch.setattr(Execution, "open", open_it)
    state = pipeline(return_state=True)
    assert told["prefect.flow_run"] == str(state.state_details.flow_run_id)
    assert told["prefect.page"].endswith(told["prefect.flow_run"])
    stages = Artifact.get("stages")
    assert stages is not None
    assert "In MLflow: run `abc123`" in str(stages.data)
    assert re.search(r"^\| make \| Ran \| \d+ s \|$", str(stages.data), re.MULTILINE)


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


@pytest.mark.usefixtures("_server")
def test_a_full_disk_is_named_and_the_next_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody listens there
    large = {"large": {"cmd": "cat raw raw raw > large", "deps": ["raw"], "outs": ["large"]}}
    with small_disk(tmp_path / "disk", mib=8) as disk, monkeypatch.context() as within:
        within.chdir(disk)
        (disk / "raw").write_bytes(bytes(2**20))
        (disk / "dvc.yaml").write_text(yaml.safe_dump({"stages": large}))
        dvc_folder.init(disk)
        (disk / "ballast").write_bytes(bytes(5 * 2**20))
        state = pipeline(return_state=True)
        assert state.is_failed()
        assert "stage 'large' failed, for the disk is full" in str(state.message)
        assert "large" not in read_lock(disk)
        (disk / "ballast").unlink()
        assert pipeline() == {"large": "Ran"}
        assert "up to date" in repro()
        assert (disk / "large").read_bytes() == bytes(3 * 2**20)


def read_lock(folder: Path) -> dict[str, object]:
    """The stages of dvc.lock."""
    path = folder / "dvc.lock"
    return yaml.safe_load(path.read_text())["stages"] if path.exists() else {}


def test_the_order_and_the_stale_stages_are_dvcs(project: Path) -> None:
    order, stale = plan()
    assert order == {"make": [], "side": [], "score": ["make", "side"]}
    assert list(order)[-1] == "score"
    assert stale == {"make", "side", "score"}
    repro()
    assert plan()[1] == set()
    (project / "made").unlink()
    assert plan()[1] == {"make", "score"}


def test_until_a_stage_only_what_it_needs_is_done(project: Path) -> None:
    order, stale = plan("side")
    assert order == {"side": []}
    assert stale == {"side"}
    assert list(plan("score")[0]) == list(plan()[0])


def test_after_a_stage_it_is_left_as_it_is_with_all_that_it_needs(project: Path) -> None:
    order, stale = plan(after="make")
    assert set(order) == stale == {"side", "score"}
    assert plan(after="score") == ({}, set())


@pytest.mark.usefixtures("_server")
def test_the_flow_stops_where_it_is_told_to(project: Path) -> None:
    assert pipeline(until="make") == {"make": "Ran"}
    assert not (project / "metrics.json").exists()
    assert pipeline() == {"make": "Unchanged", "side": "Ran", "score": "Ran"}


@pytest.mark.usefixtures("_server")
def test_a_stage_that_hangs_is_ended_and_the_others_go_on(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    stages = {**STAGES, "make": {**STAGES["make"], "cmd": "echo $$ > hangs; exec sleep 600"}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(StageFailedError, match="not up to date: make, score"):
        pipeline(stage_minutes=0.1)
    assert not psutil.pid_exists(pid_in(project / "hangs"))
    assert "took more than 6 seconds and was ended" in caplog.text
    assert (project / "aside").read_text() == "\n"


@pytest.mark.parametrize("line", ["cp: No space left on device", "OSError: [Errno 122] Disk quota exceeded: 'a'"])
def test_the_transcript_knows_a_full_disk(line: str) -> None:
    transcript = Transcript("make")
    assert transcript.reason("it", 3) == "it failed with exit status 3; the log above tells why"
    transcript.read(line)
    transcript.read("ERROR: failed to reproduce 'make'")
    assert transcript.reason("it", 3).startswith("it failed, for the disk is full")


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


def test_a_duration_has_the_unit_that_suits_it() -> None:
    assert [duration(seconds) for seconds in (0.4, 99.4, 150.0, 7200.0)] == ["0 s", "99 s", "2.5 min", "120.0 min"]


def test_metrics_become_rows_with_a_column_for_each_score() -> None:
    metrics = {"ours": {"rain": {"rmse": 1, "mae": 2}}, "headline": {"rain": {"worst": 3}}}
    assert metric_rows(metrics) == [{"model": "ours", "variable": "rain", "rmse": 1, "mae": 2}]
