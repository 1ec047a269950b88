"""Promotion and the way back in a store of runs, with untrained models: the more their weights shake, the worse."""

import json
import shutil
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import training.conftest
from rich.console import Console
from training.conftest import CLIP, MACHINE, MODEL, Data

from physicnet import registry, served
from physicnet.checkpoint import save_checkpoint
from physicnet.config import EvaluateConfig, Params, PromoteConfig, load_params
from physicnet.data.spacing import spacing_of
from physicnet.digest import content_hash
from physicnet.evaluation.retest import retest
from physicnet.fields import DataError, Field
from physicnet.model.build import build
from physicnet.normalization import Normalizer
from physicnet.tracking import holdings, registered
from physicnet.tracking.registered import CHALLENGER, CHAMPION, FORMER, SHA256
from physicnet.tracking.store import HistoryError, Store

data = training.conftest.data  # the fixture
COMMAND = (
    "physicnet evaluate --fields data/fields.zarr --statistics data/statistics.json --maps data/maps.safetensors "
    "--crops data/crops.csv --checkpoint models/model.safetensors --metrics metrics.json --results results"
)
EVALUATE = EvaluateConfig(
    baselines=["advection"], thresholds={"rate": [1.0]}, fss_scale=3, bootstrap_samples=100, seed=0
)
PROMOTE = PromoteConfig(metric="rmse", leads=None, minimum_gain=0.01, worst_lead=0.5, must_beat=[])


class Workspace:
    """A folder with data and a pipeline, a registered model of its own, and what the commands said last."""

    def __init__(self, root: Path, store: Store, params: Params) -> None:
        self.root = root
        self.store = store
        self.params = params
        self.said = ""

    @property
    def record(self) -> Field:
        return Field.open(self.root / "data" / "fields.zarr")

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.root / registry.REPORT).read_text())

    def offer(self, shaken: float, **changes: Any) -> str:
        """Register a model as the challenger, and return its run."""
        path = self.root / "offered" / "model.safetensors"
        torch.manual_seed(5)
        net = build(MODEL, CLIP, variables=1, window=16)
        weights = {
            name: tensor + shaken * torch.randn(tensor.shape) if tensor.is_floating_point() else tensor
            for name, tensor in net.state_dict().items()
        }
        normalizer = Normalizer.load(self.root / "data" / "statistics.json", self.root / "data" / "maps.safetensors")
        metadata = {
            "model": MODEL.model_dump(mode="json"),
            "clip": CLIP.model_dump(mode="json"),
            "window": 16,
            "normalizer": normalizer.to_dict(),
            "step_seconds": 300.0,
            "grid": [asdict(spacing) for spacing in spacing_of(self.record)],
        }
        save_checkpoint(path, weights, metadata | changes)
        run_id = self.store.find_or_create(
            {"physicnet.child": f"{self.root} {shaken} {sorted(changes)[:1]}".replace("'", "")}, "train", {}
        )
        served.offer(self.store, run_id, path, self.record, MACHINE, is_challenger=True)
        return run_id

    def promote(self) -> None:
        console = Console(file=StringIO(), width=100)
        registry.promote(self.store, self.params, console)
        self.said = console.file.getvalue()  # type: ignore[attr-defined]

    def rollback(self) -> None:
        console = Console(file=StringIO(), width=100)
        registry.rollback(self.store, console)
        self.said = console.file.getvalue()  # type: ignore[attr-defined]

    def slow_down(self) -> None:
        """Make the steps of the record twice as long."""
        record = self.record.dataset.load()
        shutil.rmtree(self.root / "data" / "fields.zarr")
        first = record["time"].values[0]
        times = first + 2 * (record["time"].values - first)
        Field(record.assign_coords(time=times)).save(self.root / "data" / "fields.zarr")

    def champion(self) -> str | None:
        version = registered.version(self.store, CHAMPION)
        return None if version is None else str(version.version)

    def tag(self, alias: str, name: str) -> str | None:
        version = registered.version(self.store, alias)
        assert version is not None
        return version.tags.get(f"promotion.{name}")


@pytest.fixture
def workspace(repository: Path, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("physicnet.tracking.registered.REGISTERED", f"physicnet {tmp_path.name}")
    shutil.copytree(data.normalized.parent, tmp_path / "data")
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"evaluate": {"cmd": COMMAND}}}))
    store = Store(repository)
    store.root = tmp_path
    sections = {"clip": CLIP, "machine": MACHINE, "evaluate": EVALUATE, "promote": PROMOTE}
    params = load_params(repository / "params.yaml").model_copy(update=sections)
    return Workspace(tmp_path, store, params)


def artifacts(workspace: Workspace, run_id: str) -> Path:
    uri = workspace.store.client.get_run(run_id).info.artifact_uri
    return Path(uri.removeprefix("file://"))


def test_better_challengers_become_champions_and_rollback_goes_back_one_by_one(workspace: Workspace) -> None:
    for number, shaken in enumerate((0.3, 0.05, 0.0), start=1):
        workspace.offer(shaken)
        workspace.promote()
        assert workspace.champion() == str(number)
        assert f"Promoted: version {number} is the champion now" in workspace.said
    assert workspace.tag(CHAMPION, "decision") == "promoted"
    assert float(workspace.tag(CHAMPION, "gain") or 0) == workspace.report["gain"] > 0.01
    workspace.rollback()
    assert workspace.said.strip() == "Version 2 is the champion again, in place of version 3."
    workspace.rollback()
    assert workspace.champion() == "1"
    assert workspace.report["champion"]["version"] == "1"
    assert workspace.report["replaced"]["version"] == "2"
    assert workspace.tag(CHAMPION, "decision") == "restored"
    assert workspace.tag(CHAMPION, "replaced_by") == "none"
    with pytest.raises(HistoryError, match="was champion before version 1, so there is none to go back to"):
        workspace.rollback()


def test_a_worse_challenger_is_kept_and_the_decision_is_the_same_when_repeated(workspace: Workspace) -> None:
    workspace.offer(0.0)
    workspace.promote()
    workspace.offer(0.3)
    workspace.promote()
    first = (workspace.root / registry.REPORT).read_bytes()
    assert workspace.champion() == "1"
    assert workspace.said.splitlines()[-2].startswith("Not promoted: version 1 stays the champion; version 2 does not")
    assert workspace.tag(CHALLENGER, "decision") == "kept"
    assert workspace.tag(CHALLENGER, "compared_with") == "1"
    version = registered.version(workspace.store, CHALLENGER)
    assert version is not None
    assert "**Not met.** RMSE over all leads is" in version.description
    workspace.promote()
    assert (workspace.root / registry.REPORT).read_bytes() == first


def test_the_report_tells_what_the_decision_was_made_of(workspace: Workspace) -> None:
    run_id = workspace.offer(0.0)
    workspace.promote()
    report = workspace.report
    sha256 = content_hash(workspace.root / "offered" / "model.safetensors")
    identity = {"version": "1", "run_id": run_id, "checkpoint_sha256": sha256}
    assert report["challenger"] == identity | {"test": "tested anew"}
    assert report["champion"] is None
    assert report["verdict"] == "promoted"
    assert report["rule"] == PROMOTE.model_dump()
    assert set(report["test_data"]["md5"]) == {
        "data/fields.zarr",
        "data/statistics.json",
        "data/maps.safetensors",
        "data/crops.csv",
    }
    assert len(report["test_data"]["origins"]) == len(set(report["test_data"]["origins"])) > 1
    assert {row["against"] for row in report["ratios"]} == {"persistence", "advection"}
    assert {row["lead"] for row in report["scores"]} == {"all", 1, 2}


def test_a_first_model_that_loses_to_a_baseline_is_no_champion(workspace: Workspace) -> None:
    rule = PROMOTE.model_copy(update={"must_beat": ["advection"]})
    workspace.params = workspace.params.model_copy(update={"promote": rule})
    workspace.offer(0.3)
    workspace.promote()
    assert workspace.champion() is None
    assert "Not promoted: there still is no champion; version 1 does not meet the rule." in workspace.said


def test_the_champion_is_nothing_to_decide_about(workspace: Workspace) -> None:
    workspace.offer(0.0)
    workspace.promote()
    workspace.promote()
    assert workspace.said.strip() == "Version 1 is the champion already: there is nothing to decide."


def test_the_champions_checkpoint_can_be_copied_and_where_there_is_none_nothing_is(workspace: Workspace) -> None:
    target = workspace.root / "models" / "champion.safetensors"
    workspace.offer(0.05)
    assert registry.copy_champion(workspace.store, target) is None
    assert not target.exists()
    workspace.promote()
    workspace.offer(0.3)
    version = registered.version(workspace.store, CHAMPION)
    assert version is not None
    assert registry.copy_champion(workspace.store, target) == content_hash(target) == version.tags[SHA256]


def test_what_was_rolled_back_is_no_challenger_any_more(workspace: Workspace) -> None:
    for shaken in (0.3, 0.0):
        workspace.offer(shaken)
        workspace.promote()
    workspace.rollback()
    with pytest.raises(HistoryError, match="No version of the model at sqlite.* is the challenger: dvc repro gives"):
        workspace.promote()


def test_results_and_tables_of_the_same_test_are_not_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shaken in (0.3, 0.0):
        run_id = workspace.offer(shaken)
        tested = registry.TestData(workspace.root, workspace.params)
        model = workspace.root / "offered" / "model.safetensors"
        table = retest(model, "model", workspace.params, tested.paths, ["advection"])
        for folder in ("models", "results"):
            (workspace.root / folder).mkdir(exist_ok=True)
        shutil.copy(model, workspace.root / "models")
        table.to_csv(workspace.root / "results" / "origins.csv", index=False, float_format="%.6g")
        holdings.keep(workspace.store, run_id, workspace.root / "results" / "origins.csv")
        with monkeypatch.context() as patch:
            patch.setattr(registry, "holds_outputs", lambda *_: True)
            patch.setattr(registry, "retest", None)
            workspace.promote()
    kept = workspace.report
    assert kept["challenger"]["test"] == "results/origins.csv"
    assert kept["champion"]["test"] == "origins.csv of its run"
    registered.name_version(workspace.store, CHAMPION, "1")
    (artifacts(workspace, kept["champion"]["run_id"]) / "origins.csv").unlink()
    workspace.promote()
    assert workspace.report["champion"]["test"] == workspace.report["challenger"]["test"] == "tested anew"
    assert workspace.report["ratios"] == kept["ratios"]


def test_a_table_of_other_test_data_is_made_again(workspace: Workspace) -> None:
    run_id = workspace.offer(0.3)
    (workspace.root / "origins.csv").write_text("of,another\ntest,1\n")
    holdings.keep(workspace.store, run_id, workspace.root / "origins.csv")
    workspace.promote()
    workspace.offer(0.0)
    workspace.promote()
    assert workspace.report["champion"]["test"] == "tested anew"


def test_no_challenger_is_said(workspace: Workspace) -> None:
    with pytest.raises(HistoryError, match=r"is the challenger: dvc repro gives .*--force --single-item evaluate"):
        workspace.promote()


def test_no_champion_to_go_back_from_is_said(workspace: Workspace) -> None:
    workspace.offer(0.0)
    with pytest.raises(HistoryError, match="was champion before any other, so there is none to go back to"):
        workspace.rollback()


def test_a_checkpoint_that_was_deleted_is_named(workspace: Workspace) -> None:
    run_id = workspace.offer(0.0)
    (artifacts(workspace, run_id) / "model" / "data" / "model.safetensors").unlink()
    message = rf"The model of version 1 \(run {run_id}\) cannot be read: data/ holds no checkpoint\. Restore its files"
    with pytest.raises(HistoryError, match=message):
        workspace.promote()


def test_a_model_that_was_deleted_is_named(workspace: Workspace) -> None:
    run_id = workspace.offer(0.0)
    shutil.rmtree(artifacts(workspace, run_id) / "model")
    with pytest.raises(HistoryError, match=rf"The model of version 1 \(run {run_id}\) cannot be read: .*Restore its"):
        workspace.promote()


def test_another_checkpoint_than_was_registered_is_refused_with_both_hashes(workspace: Workspace) -> None:
    run_id = workspace.offer(0.0)
    known = content_hash(workspace.root / "offered" / "model.safetensors")
    path = artifacts(workspace, run_id) / "model" / "data" / "model.safetensors"
    path.write_bytes(b"other")
    message = rf"version 1 \(challenger\) is another one .*: its SHA-256 is {content_hash(path)}, not {known}\. Restore"
    with pytest.raises(HistoryError, match=message):
        workspace.promote()


def test_a_version_without_a_hash_is_refused(workspace: Workspace) -> None:
    run_id = workspace.offer(0.0)
    version = registered.version(workspace.store, CHALLENGER)
    assert version is not None
    workspace.store.client.delete_model_version_tag(version.name, version.version, SHA256)
    message = rf"Version 1 \(challenger\) does not tell the hash of its checkpoint .* of its run, {run_id}; dvc repro"
    with pytest.raises(HistoryError, match=message):
        workspace.promote()


def test_missing_test_data_are_named(workspace: Workspace) -> None:
    workspace.offer(0.0)
    (workspace.root / "data" / "crops.csv").unlink()
    with pytest.raises(
        DataError, match=r"data/crops\.csv does not exist, so there is nothing to test on: .* dvc repro"
    ):
        workspace.promote()


def test_a_champion_of_another_time_step_is_refused(workspace: Workspace) -> None:
    workspace.offer(0.3)
    workspace.promote()
    workspace.slow_down()
    workspace.offer(0.1, step_seconds=600.0)
    message = r"(?s)the champion, version 1 cannot be tested .*time step: 300 s there, 600 s here\nbring back the data"
    with pytest.raises(DataError, match=message):
        workspace.promote()


def test_a_challenger_of_other_data_is_refused(workspace: Workspace) -> None:
    workspace.offer(0.0)
    workspace.slow_down()
    with pytest.raises(DataError, match=r"(?s)the challenger, version 1 cannot be tested .*or dvc repro$"):
        workspace.promote()


def test_former_champions_that_were_deleted_are_passed_over(workspace: Workspace) -> None:
    for shaken in (0.3, 0.05, 0.0):
        workspace.offer(shaken)
        workspace.promote()
    version = registered.version(workspace.store, CHAMPION)
    assert version is not None
    workspace.store.client.delete_model_version(version.name, "2")
    workspace.rollback()
    assert workspace.champion() == "1"
    assert workspace.store.client.get_registered_model(version.name).tags[FORMER] == ""


def test_a_folder_without_a_store_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(HistoryError, match="mlflow holds no runs: change to the folder of params.yaml"):
        registered.version(Store(tmp_path), CHAMPION)
    assert not (tmp_path / "mlflow").exists()
