"""A server that is lost at any moment costs no output, is named, and gets all that it lacks by one replay."""

import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mirrored_runs import everything, said
from outages import Failure, Proxy, proxy
from workspaces import write_workspace

from physicnet import cli, delivery, mirror
from physicnet.contents import read_epochs
from physicnet.lineage import md5_of
from physicnet.ports import free_port
from physicnet.replay import COMPLETED
from physicnet.tracking import executions, registered
from physicnet.tracking.executions import OWNER_VARIABLE
from physicnet.tracking.registered import CHALLENGER
from physicnet.tracking.store import Store
from physicnet.viewer import serving, wait_for

STAGES = ("train", "evaluate")
SEED = 20261125
LOSSES = (  # each at a moment that the seed draws, of which a failure tells
    (Failure.LOST, "train"),
    (Failure.LOST, "evaluate"),
    (Failure.ERROR, "train"),
    (Failure.SILENT, "evaluate"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Path]]:
    """MLflow's server behind a proxy, and the folder of its files."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with serving(Store(folder), port) as process:
            wait_for(process, port)
            with proxy(port) as front:
                yield front, folder / "mlartifacts"


class Trial:
    """A folder with two stages that only copy their outputs, and an experiment of its own on the server."""

    def __init__(self, root: Path, name: str, server: tuple[Proxy, Path], patch: pytest.MonkeyPatch) -> None:
        self.proxy, self.artifacts = server
        self.root = root / name
        self.root.mkdir()
        self.patch = patch
        patch.chdir(self.root)
        patch.setattr("physicnet.tracking.store.EXPERIMENT", name)
        patch.setattr("physicnet.tracking.registered.REGISTERED", name)
        write_workspace(self.root)
        for file in ("dvc.yaml", "dvc.lock"):
            content = yaml.safe_load(Path(file).read_text())
            content["stages"] = {stage: content["stages"][stage] for stage in STAGES}
            Path(file).write_text(yaml.safe_dump(content, sort_keys=False))
        self.outs = {stage: self._outs(stage) for stage in STAGES}
        for path in (path for outs in self.outs.values() for path in outs):
            (self.root / "made" / path).parent.mkdir(parents=True, exist_ok=True)
            path.rename(self.root / "made" / path)
        patch.setattr("physicnet.training.joint.train", self._train)
        patch.setattr("physicnet.evaluation.verify.evaluate", lambda *_, **__: self._write("evaluate"))

    def run(self, stage: str) -> None:
        """Run the command of a stage as DVC does: it writes its outputs, and ends with status 0."""
        command = yaml.safe_load(Path("dvc.yaml").read_text())["stages"][stage]["cmd"]
        with self.patch.context() as patch:
            patch.setenv("DVC_STAGE", stage)
            patch.setattr(sys, "argv", command.split())
            with pytest.raises(SystemExit) as ending:
                cli.main()
        assert ending.value.code == 0

    def outputs(self) -> dict[str, str]:
        return {str(path): md5_of(path) for outs in self.outs.values() for path in outs}

    def held(self) -> dict[str, Any]:
        """All that is on the server of this trial, with the content of files."""
        store = Store(self.root)
        held: dict[str, Any] = everything(store)
        for run in held.values():
            run["tags"].pop(COMPLETED, None)
        read = {
            name for stage in STAGES for name in yaml.safe_load(Path("dvc.yaml").read_text())["stages"][stage]["params"]
        }
        params = held["execution"]["params"]  # a replay knows those that a stage has read
        held["execution"]["params"] = {name: value for name, value in params.items() if name.split(".")[0] in read}
        for run in store.client.search_runs([store.experiment_id]):
            folder = self.artifacts / store.experiment_id / run.info.run_id / "artifacts"
            files = {
                path.relative_to(folder).as_posix().partition("+timestamp")[0] + path.suffix: md5_of(path)
                for path in folder.rglob("*")
                if path.is_file() and path.name != "environment.txt"
            }
            held[run.data.tags.get("dvc.stage", "execution")]["files"] = files
        return held | {"challenger": registered.holder(store, CHALLENGER)}

    def _outs(self, stage: str) -> list[Path]:
        return [Path(out["path"]) for out in yaml.safe_load(Path("dvc.lock").read_text())["stages"][stage]["outs"]]

    def _train(self, *_: object, history: Path, report: Any, **__: object) -> None:
        for epoch in (1, 2):
            epochs = read_epochs(self.root / "made" / history)
            report(epoch, {name: value for name, value, step in epochs if step == epoch})
        self._write("train")

    def _write(self, stage: str) -> None:
        for path in self.outs[stage]:
            made = self.root / "made" / path
            path.parent.mkdir(exist_ok=True)
            (shutil.copytree if made.is_dir() else shutil.copyfile)(made, path)


@pytest.fixture(autouse=True)
def environment(server: tuple[Proxy, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages below one DVC, which do not wait long; models are logged as a text."""
    set_up(server, monkeypatch)


def set_up(server: tuple[Proxy, Path], patch: pytest.MonkeyPatch) -> None:
    patch.delenv(OWNER_VARIABLE, raising=False)
    patch.setenv("MLFLOW_TRACKING_URI", server[0].address)
    patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    patch.setattr(delivery, "LAST_TRY", 1.0)
    patch.setattr(mirror, "dvc_process", lambda: psutil.Process().parent())
    for name in ("end_cleanly_on_sigterm", "end_with_dvc"):
        patch.setattr(f"physicnet.process.{name}", lambda: None)
    patch.setattr("physicnet.served.log", lambda store, run_id, *_: store.client.log_text(run_id, "a", "model/MLmodel"))


@dataclass(frozen=True)
class Undisturbed:
    """What two stages leave where nothing fails, and the number of their requests."""

    outputs: dict[str, str]
    held: dict[str, Any]
    requests: dict[str, int]


@pytest.fixture(scope="module")
def undisturbed(server: tuple[Proxy, Path], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    requests = {}
    with pytest.MonkeyPatch.context() as patch:
        set_up(server, patch)
        trial = Trial(tmp_path_factory.mktemp("undisturbed"), "undisturbed", server, patch)
        for stage in STAGES:
            trial.proxy.mend()
            trial.run(stage)
            requests[stage] = trial.proxy.count
        return Undisturbed(trial.outputs(), trial.held(), requests)


@pytest.mark.parametrize(("failure", "stage"), LOSSES)
def test_a_server_that_is_lost_at_any_moment_gets_all_that_it_lacks_by_one_replay(
    failure: Failure,
    stage: str,
    server: tuple[Proxy, Path],
    undisturbed: Undisturbed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    draw = random.Random(f"{SEED} {failure.name} {stage}")
    moment, is_mended = draw.randrange(undisturbed.requests[stage]), draw.random() < 0.5
    told = f"seed {SEED}: {failure.name} after {moment} requests of {stage}, mended before the next stage: {is_mended}"
    with noted(told):
        trial = Trial(tmp_path, f"{failure.name} {stage}", server, monkeypatch)
        lose_server(trial, failure, stage, moment, is_mended=is_mended, capsys=capsys)
        assert trial.outputs() == undisturbed.outputs
        monkeypatch.setattr(executions, "_is_running", lambda _: False)
        trial.proxy.mend()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # nothing fails any more, however busy the machine is
        said(trial.root, capsys)
        assert trial.held() == undisturbed.held
        trial.proxy.mend()
        assert {what for what, _ in said(trial.root, capsys).values()} == {"complete already"}
        assert trial.proxy.changes == []


def lose_server(
    trial: Trial, failure: Failure, stage: str, moment: int, *, is_mended: bool, capsys: pytest.CaptureFixture
) -> None:
    """Run the stages; a stage that lacks its server says so at its end, and no other does."""
    for each in STAGES:
        if each == stage:
            trial.proxy.fail(failure, moment)
        elif is_mended:
            trial.proxy.mend()
        trial.run(each)
        assert ("Not mirrored to MLflow at" in capsys.readouterr().err) == (trial.proxy.failed > 0)
        assert trial.proxy.failed or each != stage


@contextmanager
def noted(text: str) -> Iterator[None]:
    """Add a text to what a failure says."""
    try:
        yield
    except BaseException as error:
        error.add_note(text)
        raise
