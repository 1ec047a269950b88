import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from filelock import FileLock
from mirrored_runs import artifacts, everything, lose_all, said
from PIL import Image
from rich.console import Console
from workspaces import paths_of, sections_of, write_lock, write_workspace

from physicnet import cli, replay
from physicnet.config import load_params
from physicnet.contents import CONTENTS, read_epochs
from physicnet.mirror import StageMirror, mirrored
from physicnet.recorded import ReplayError
from physicnet.tracking import executions, holdings, registered
from physicnet.tracking.executions import LEFT, OWNER_VARIABLE, REPLAYED, RESUMED, SECONDS, process_tags
from physicnet.tracking.registered import CHALLENGER, REGISTERED
from physicnet.tracking.store import PARENT, Store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a store without runs; all copies keep their artifacts in one folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("template")
        assert Store(root).client
    return root / "mlflow" / "mlflow.db"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, as all stages left it; models are registered, but not logged."""
    for name in (OWNER_VARIABLE, "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "workspace"
    root.mkdir()
    monkeypatch.chdir(root)
    write_workspace(root)
    monkeypatch.setattr("physicnet.served.log", lambda *_: None)
    return root


@pytest.fixture
def fresh(template: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Store]:
    """Go over to another, empty store."""
    copies = iter(range(9))

    def use() -> Store:
        database = workspace.parent / f"{next(copies)}.db"
        shutil.copy(template, database)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        return Store(workspace)

    return use


@pytest.fixture
def store(fresh: Callable[[], Store]) -> Store:
    return fresh()


def work(monkeypatch: pytest.MonkeyPatch, *stages: str, lost_after: int | None = None) -> StageMirror:
    """Mirror stages as DVC runs them; the server is lost for good after so many epochs of the last one."""
    for stage in stages:
        monkeypatch.setenv("DVC_STAGE", stage)
        paths = paths_of(stage)
        with mirrored(stage, paths, **sections_of(load_params(Path("params.yaml")), stage)) as mirror:
            for epoch in (1, 2) if CONTENTS[stage].history else ():
                mirror.queue.is_open = stage != stages[-1] or lost_after is None or epoch <= lost_after
                mirror.report(
                    epoch, {name: value for name, value, step in read_epochs(paths["history"]) if step == epoch}
                )
            mirror.show()
    monkeypatch.delenv("DVC_STAGE")
    return mirror


def test_a_replay_into_an_empty_store_gives_what_the_live_mirror_gives_and_a_second_one_changes_nothing(
    fresh: Callable[[], Store], workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    live = fresh()
    work(monkeypatch, *CONTENTS)
    expected = everything(live)
    assert {what for what, _ in said(workspace, capsys).values()} == {"complete already"}
    assert everything(live) == expected
    replayed = fresh()
    first = said(workspace, capsys)
    assert {what for what, _ in first.values()} == {"replayed"}
    assert everything(replayed) == expected
    assert registered.holder(replayed, CHALLENGER) == "1"
    second = said(workspace, capsys)
    assert {what for what, _ in second.values()} == {"complete already"}
    assert {name: run_id for name, (_, run_id) in second.items()} == {
        name: run_id for name, (_, run_id) in first.items()
    }
    assert everything(replayed) == expected
    tags = replayed.run(first["train"][1]).data.tags
    assert REPLAYED in tags
    assert SECONDS not in tags
    assert tags["dvc.dep.models/codebook.safetensors.run"] == first["codebook"][1]
    assert replayed.run(first["execution"][1]).data.tags["dvc.train.run"] == first["train"][1]


def test_a_stage_whose_server_died_is_completed_under_its_own_run(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    mirror = work(monkeypatch, "ingest", "normalize", "crops", "codebook", "train", lost_after=1)
    own, parent = mirror.run_id, mirror.parent_id
    lose_all(monkeypatch)
    done = said(workspace, capsys)
    assert done["codebook"][0] == "complete already"
    assert done["train"] == ["completed", own]
    assert done["evaluate"][0] == "replayed"
    assert done["execution"] == ["completed", parent]
    held = everything(store)
    assert [step for step, _ in held["train"]["points"]["loss"]] == [1, 2]
    assert held["train"]["status"] == held["execution"]["status"] == "FINISHED"
    assert replay.COMPLETED in held["train"]["tags"]
    assert SECONDS not in store.run(own).data.tags  # the part before its server died is not how long it took
    assert SECONDS in store.run(done["codebook"][1]).data.tags
    assert len(store.client.get_metric_history(own, "system/cpu_utilization_percentage")) == 1
    assert {what for what, _ in said(workspace, capsys).values()} == {"complete already"}


def test_an_execution_that_lost_its_server_before_any_stage_is_the_one_that_is_completed(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    begun = store.find_or_create({"physicnet.execution": "begun"}, "begun", process_tags(psutil.Process()))
    lose_all(monkeypatch)
    assert said(workspace, capsys)["execution"] == ["completed", begun]
    held = everything(store)["execution"]
    assert held["status"] == "FINISHED"
    assert held["params"]["crops.seed"]
    assert {"dvc.lock.txt", "dvc.yaml.txt", "params.yaml.txt"} <= set(held["artifacts"])
    assert {what for what, _ in said(workspace, capsys).values()} == {"complete already"}


@pytest.mark.parametrize(("crops_seed", "git"), [("12345", {}), (None, {"git.commit": "f" * 40})])
def test_an_execution_of_other_parameters_or_code_is_left_alone(
    crops_seed: str | None,
    git: dict[str, str],
    store: Store,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    other = store.find_or_create({"physicnet.execution": "other"}, "other", git)
    holdings.log_params(store, other, {"crops.seed": crops_seed} if crops_seed else {})
    lose_all(monkeypatch)
    what, run_id = said(workspace, capsys)["execution"]
    assert what == "replayed"
    assert run_id != other
    assert store.children(other) == []


def test_what_a_newer_evaluation_left_stays(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    work(monkeypatch, "train", "evaluate")
    before = {path: path.read_bytes() for path in (Path("results/origins.csv"), Path("results/scores.csv"))}
    Path("models/model.safetensors").write_bytes(b"other weights")
    write_lock(workspace)
    assert said(workspace, capsys)["train"][0] == "replayed"  # the same inputs gave another model
    assert registered.holder(store, CHALLENGER) == "1"
    assert len(store.client.search_model_versions(f"name = '{REGISTERED}'")) == 2
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["evaluate"]["seed"] += 1
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("results/origins.csv").write_text("model,time\nours,2010-08-26 07:05:00\n")
    write_lock(workspace)
    trained = said(workspace, capsys)["train"][1]
    folder = store.client.download_artifacts(trained, "origins.csv", str(workspace.parent))
    assert Path(folder).read_bytes() == before[Path("results/origins.csv")]


def test_a_later_evaluation_leaves_its_own_pictures_and_figures_on_the_run_of_the_training(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    training = work(monkeypatch, "train").run_id
    first = work(monkeypatch, "evaluate").run_id
    before = artifacts(store, first)
    frames, figures = Path("results/frames/rain"), Path("results/figures")
    Image.new("RGB", (30, 20), "red").save(frames / "lead_005.png")
    (frames / "lead_010.png").rename(frames / "lead_015.png")
    (figures / "flow.png").rename(figures / "other.png")
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["evaluate"]["seed"] += 1
    Path("params.yaml").write_text(yaml.safe_dump(params))
    write_lock(workspace)
    later = work(monkeypatch, "evaluate")
    for run_id in (training, later.run_id):
        kept = artifacts(store, run_id)
        assert [name for name in kept if name.startswith("figures/")] == ["figures/other.png"]
        assert [name for name in kept if name.startswith("images/")] == [
            f"images/forecast~rain+step+{minutes}" for minutes in (15, 15, 5, 5)
        ]
    shown = store.client.list_artifacts(training, "images")
    (picture,) = [file.path for file in shown if "+step+5+" in file.path and file.path.endswith(".png")]
    with Image.open(store.client.download_artifacts(training, picture, str(workspace.parent))) as image:
        assert image.getpixel((0, 0)) == (255, 0, 0)
    assert artifacts(store, first) == before
    assert said(workspace, capsys)["ingest"][0] == "replayed"
    assert {what for what, _ in said(workspace, capsys).values()} == {"complete already"}
    assert store.client.list_artifacts(training, "images") == shown


def test_an_evaluation_that_was_the_latest_takes_the_alias(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    work(monkeypatch, "train", "evaluate")
    Path("models/model.safetensors").write_bytes(b"better weights")
    write_lock(workspace)
    work(monkeypatch, "train")
    monkeypatch.setattr(StageMirror, "show", lambda _: None)
    work(monkeypatch, "evaluate")
    lose_all(monkeypatch)
    assert registered.holder(store, CHALLENGER) == "1"
    assert said(workspace, capsys)["evaluate"][0] == "completed"
    assert registered.holder(store, CHALLENGER) == "2"


def test_a_failed_run_is_not_taken_for_the_one_that_made_the_files(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("DVC_STAGE", "crops")
    with pytest.raises(OSError), mirrored("crops", paths_of("crops")) as failed:
        raise OSError
    monkeypatch.delenv("DVC_STAGE")
    lose_all(monkeypatch)
    assert said(workspace, capsys)["crops"][0] == "replayed"
    assert store.run(failed.run_id).info.status == "FAILED"


def test_the_commit_of_a_run_is_told_while_the_code_is_the_recorded_one(
    store: Store, workspace: Path, capsys: pytest.CaptureFixture
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "params.yaml", "dvc.yaml"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], check=True)
    text = Path("params.yaml").read_text()
    params = yaml.safe_load(text)
    params["crops"]["seed"] = 12345
    Path("params.yaml").write_text(yaml.safe_dump(params))
    done = said(workspace, capsys)
    assert "git.commit" in store.run(done["train"][1]).data.tags
    for name in ("crops", "execution"):
        assert "git.commit" not in store.run(done[name][1]).data.tags
    assert store.run(done["crops"][1]).data.params["crops.seed"] == str(yaml.safe_load(text)["crops"]["seed"])


@pytest.mark.usefixtures("store")
def test_a_run_that_goes_on_is_waited_for(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = work(monkeypatch, "train", lost_after=1)
    with pytest.raises(ReplayError, match=f"train, run {mirror.run_id}, goes on at this moment: wait"):
        replay.replay(workspace, Console())


@pytest.mark.usefixtures("store")
def test_two_replays_at_once_are_refused(workspace: Path) -> None:
    (workspace / ".physicnet").mkdir(exist_ok=True)
    with (
        FileLock(workspace / ".physicnet" / "replay.lock"),
        pytest.raises(ReplayError, match="Another physicnet mirror works in .*: wait for its end"),
    ):
        replay.replay(workspace, Console())


def test_a_server_that_is_not_there_is_one_message_and_status_1(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr(sys, "argv", ["physicnet", "mirror"])
    monkeypatch.setattr("physicnet.process.end_cleanly_on_sigterm", lambda: None)
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert ending.value.code == 1
    assert "Error: The store of runs at http://127.0.0.1:1 cannot be opened" in capsys.readouterr().err


def test_a_server_that_fails_before_anything_is_delivered_is_named(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(executions, "maker", broken)
    with pytest.raises(ReplayError, match=r"does not answer as it should, nothing was delivered: gone\. Run"):
        replay.replay(workspace, Console())


def test_what_could_not_be_delivered_is_named_and_delivered_by_the_next_replay(
    store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    add, create = holdings.add_metrics, Store.find_or_create

    def no_metrics(*_: object) -> bool:
        raise ConnectionError("gone\nfor good")

    def no_crops(store: Store, identity: dict, name: str, tags: dict) -> str:
        return no_metrics() if name == "crops" else create(store, identity, name, tags)  # type: ignore[return-value]

    monkeypatch.setattr(holdings, "add_metrics", no_metrics)
    monkeypatch.setattr(Store, "find_or_create", no_crops)
    with pytest.raises(ReplayError, match=r"Not delivered .*: the run of crops with all.*, the epochs of codebook"):
        replay.replay(workspace, Console())
    out = capsys.readouterr().out
    assert re.search(r"^crops +not replayed$", out, re.MULTILINE)
    assert re.search(r"^train +incomplete +[0-9a-f]{32}$", out, re.MULTILINE)
    monkeypatch.setattr(holdings, "add_metrics", add)
    monkeypatch.setattr(Store, "find_or_create", create)
    done = said(workspace, capsys)
    assert [done[name][0] for name in ("ingest", "crops", "train")] == ["complete already", "replayed", "completed"]
    assert done["train"][1] in out


KILLED = """
import os, signal
from pathlib import Path
from physicnet.mirror import mirrored
from mirrored_runs import artifacts, everything, lose_all, said
from workspaces import paths_of
with mirrored("crops", paths_of("crops")) as mirror:
    Path("killed").write_text(mirror.run_id)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_stage_that_was_killed_goes_on_under_its_own_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "DVC_STAGE": "crops", "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment).returncode == -signal.SIGKILL
    killed = store.run(Path("killed").read_text())
    mirror = work(monkeypatch, "crops")
    assert mirror.run_id == killed.info.run_id
    run = store.run(mirror.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[RESUMED] == "1"
    assert run.data.tags[LEFT] == killed.data.tags[PARENT] != run.data.tags[PARENT] == mirror.parent_id
    assert run.data.tags["physicnet.process"].startswith(f"{os.getpid()}@")
    assert work(monkeypatch, "crops").run_id != mirror.run_id  # it had ended


def test_a_training_that_is_killed_twice_has_one_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = work(monkeypatch, "train", lost_after=1).run_id
    lose_all(monkeypatch)
    assert work(monkeypatch, "train", lost_after=0).run_id == first
    store.end(first, "KILLED")
    assert work(monkeypatch, "train").run_id == first
    assert store.run(first).data.tags[RESUMED] == "2"
    assert store.run(first).info.status == "FINISHED"


def test_a_run_tells_how_long_its_stage_worked_in_all_its_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    report, end = StageMirror.report, StageMirror.end

    def report_after_an_hour(mirror: StageMirror, epoch: int, values: dict[str, float]) -> None:
        mirror.begun -= 3600
        report(mirror, epoch, values)

    monkeypatch.setattr(StageMirror, "report", report_after_an_hour)
    monkeypatch.setattr(StageMirror, "end", lambda *_: None)
    run_id = work(monkeypatch, "train", lost_after=1).run_id  # killed an hour after its first epoch
    assert 3600 <= float(store.run(run_id).data.tags[SECONDS]) < 3660
    monkeypatch.setattr(StageMirror, "end", end)
    lose_all(monkeypatch)
    assert work(monkeypatch, "train").run_id == run_id
    assert 3 * 3600 <= float(store.run(run_id).data.tags[SECONDS]) < 3 * 3660
