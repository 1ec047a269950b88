"""What the two commands say of a store with a few executions whose stages did nothing."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from tested import TIMES, origins_table

from physicnet.config import load_params
from physicnet.fields import DataError
from physicnet.history import compare, explain
from physicnet.tracking import holdings
from physicnet.tracking.executions import REPLAYED, RESUMED, SECONDS
from physicnet.tracking.store import HistoryError, Store

COMMIT = "0123456789" * 4


class Runs:
    """Makes executions of two stages: `crops`, which may be cached, and `evaluate`."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.count = 0

    def execution(self, origins: pd.DataFrame | None = None, *, crops: str | None = None, **params: str) -> str:
        """The id of an execution; `crops` is the key of that stage, `origins` what its evaluation wrote."""
        self.count += 1
        name = f"{self.folder.name} {self.count}"
        tags = {"git.commit": COMMIT, "git.dirty": "true" if self.count > 1 else "false"}
        execution = self.store.find_or_create({"physicnet.execution": name}, name, tags)
        holdings.log_params(self.store, execution, {"crops.seed": "7", "train.losses.squared": "3.0"} | params)
        stages = {"crops": crops or name} | ({"evaluate": name} if origins is not None else {})
        for stage, key in stages.items():
            made = self.store.find({"dvc.stage": stage, "dvc.key": key})
            run_id = str(made.info.run_id) if made else self.stage(stage, execution, {"dvc.key": key})
            self.store.client.set_tag(execution, f"dvc.{stage}.key", key)
            self.store.client.set_tag(execution, f"dvc.{stage}.run", run_id)
            if stage == "evaluate":
                self.keep(run_id, origins)
        self.store.end(execution, "FINISHED")
        return execution

    def stage(self, stage: str, execution: str, tags: dict[str, str] | None = None) -> str:
        read = {"dvc.dep.data/fields.zarr": "a5a6.dir", "dvc.dep.data/fields.zarr.run": "ffff", "git.commit": COMMIT}
        tags = {"dvc.stage": stage, "mlflow.parentRunId": execution, **read, **(tags or {})}
        run_id = self.store.find_or_create({"physicnet.child": f"{execution} {stage}"}, stage, tags)
        self.store.end(run_id, "FINISHED")
        return run_id

    def keep(self, run_id: str, origins: pd.DataFrame | None) -> None:
        assert origins is not None
        origins.to_csv(self.folder / "origins.csv", index=False)
        holdings.keep(self.store, run_id, self.folder / "origins.csv")


@pytest.fixture
def runs(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Runs(Store(repository), tmp_path)


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=80)


def said(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def compared(runs: Runs, *references: str) -> str:
    console = Console(file=StringIO(), width=80)
    compare(runs.store, references, load_params(runs.store.root / "params.yaml").evaluate, console)
    return said(console)


def test_executions_are_compared_by_their_evaluations(runs: Runs) -> None:
    one, other = runs.execution(origins_table()), runs.execution(origins_table(0.25), **{"crops.window": "16"})
    text = compared(runs, one, other)
    assert f"A  execution {one[:8]}  " in text
    assert "git 0123456 + changes  scores of evaluate" in text
    assert "crops.window" in text
    assert "crops.seed" not in text
    assert "RMSE of B against A: B is better at every lead." in text


def test_an_evaluation_and_a_training_bring_the_settings_of_their_execution(runs: Runs) -> None:
    one, other = runs.execution(origins_table()), runs.execution(**{"crops.seed": "8"})
    evaluation = runs.store.client.get_run(one).data.tags["dvc.evaluate.run"]
    training = runs.stage("train", other)
    holdings.log_params(runs.store, training, {"train.epochs": "5"})
    runs.keep(training, origins_table(4.0))
    text = compared(runs, evaluation, training)
    assert f"B  train {training[:8]}" in text
    assert "scores of" not in text
    assert "crops.seed" in text
    assert "train.epochs" in text
    assert "A is better at every lead" in text


def test_an_execution_whose_evaluation_was_unchanged_is_compared_by_the_earlier_one(runs: Runs) -> None:
    one, other, third = runs.execution(origins_table()), runs.execution(), runs.execution(origins_table(0.25))
    earlier = runs.store.client.get_run(one).data.tags["dvc.evaluate.run"]
    runs.store.client.set_tag(other, "dvc.evaluate.run", earlier)
    assert f"scores of evaluate {earlier[:8]}" in compared(runs, other, third)


def test_settings_are_those_of_the_training_whose_model_was_tested(runs: Runs) -> None:
    one, other = runs.execution(origins_table(), rate="1"), runs.execution(origins_table(0.25), rate="2")
    training = runs.stage("train", one)
    holdings.log_params(runs.store, training, {"rate": "3"})
    runs.store.client.set_tag(other, "dvc.train.run", training)
    row = next(line for line in compared(runs, one, other).splitlines() if line.startswith("│ rate"))
    assert [cell.strip() for cell in row.split("│")[1:4]] == ["rate", "1", "3"]


def test_an_evaluation_whose_execution_was_deleted_is_compared_by_what_it_knows(runs: Runs) -> None:
    one, other = runs.execution(origins_table()), runs.execution(origins_table(0.25))
    evaluation = runs.store.client.get_run(other).data.tags["dvc.evaluate.run"]
    runs.store.client.delete_run(other)
    assert "B is better at every lead" in compared(runs, one, evaluation)


def test_runs_of_other_test_data_are_refused(runs: Runs) -> None:
    one, other = runs.execution(origins_table()), runs.execution(origins_table(times=TIMES[1:]))
    with pytest.raises(DataError, match=f"execution {one[:8]} was tested from 4 .* execution {other[:8]} from 3 "):
        compared(runs, one, other)


@pytest.mark.parametrize("count", [1, 27])
def test_too_few_or_too_many_runs_are_refused(runs: Runs, count: int) -> None:
    with pytest.raises(HistoryError, match=f"compare takes 2 to 26 runs, and was given {count}"):
        compared(runs, *["0123"] * count)


def test_two_names_of_the_same_scores_are_refused(runs: Runs) -> None:
    execution = runs.execution(origins_table())
    evaluation = runs.store.client.get_run(execution).data.tags["dvc.evaluate.run"]
    message = f"{execution} and {evaluation} have the same test scores, those of evaluate {evaluation[:8]}"
    with pytest.raises(HistoryError, match=message):
        compared(runs, execution, evaluation)


def test_a_stage_without_scores_is_named_with_its_execution(runs: Runs) -> None:
    execution = runs.execution(origins_table())
    crops = runs.store.client.get_run(execution).data.tags["dvc.crops.run"]
    message = f"crops {crops[:8]} is a run of the stage crops, which has no test scores: .* belongs to, {execution}"
    with pytest.raises(HistoryError, match=message):
        compared(runs, crops, execution)


def test_an_execution_without_evaluation_is_refused(runs: Runs) -> None:
    execution = runs.execution()
    with pytest.raises(HistoryError, match=rf"execution {execution[:8]} \(FINISHED\) has no evaluation: dvc repro"):
        compared(runs, execution, "0123")


def test_a_run_whose_table_is_gone_says_where_it_should_be(runs: Runs) -> None:
    training = runs.stage("train", runs.execution())
    message = rf"train {training[:8]} \(FINISHED\) has no test scores: origins\.csv is not in file:.*{training}"
    with pytest.raises(HistoryError, match=message):
        compared(runs, training, "0123")


def test_an_execution_is_explained_by_stages_data_and_parameters(runs: Runs, console: Console) -> None:
    execution = runs.execution(origins_table())
    explain(runs.store, execution, console)
    lines = said(console).splitlines()
    tags = runs.store.client.get_run(execution).data.tags
    assert lines[0] == f"Execution {execution}"
    assert f"  git        {COMMIT}" in lines
    assert "             dvc.yaml and params.yaml as committed" in lines
    assert any(line.startswith("  crops      ran here: FINISHED, 20") for line in lines)
    assert f"             key        {tags['dvc.crops.key']}" in lines
    assert f"             run        {tags['dvc.crops.run']}" in lines
    assert [line.split() for line in lines if "reads" in line] == [["reads", "a5a6.dir", "data/fields.zarr"]] * 2
    assert [line.split() for line in lines[-2:]] == [["crops", "seed", "7"], ["train", "losses.squared", "3.0"]]


def test_what_was_unchanged_names_the_run_that_made_it(runs: Runs, console: Console) -> None:
    first = runs.execution(origins_table())
    tags = runs.store.client.get_run(first).data.tags
    second = runs.execution(origins_table(), crops=tags["dvc.crops.key"])
    runs.store.client.set_tag(tags["dvc.crops.run"], "git.commit", "f" * 40)
    runs.store.client.set_tag(tags["dvc.crops.run"], "git.dirty", "true")
    explain(runs.store, second, console)
    text = said(console)
    assert "  crops      unchanged: made 20" in text
    for line in (f"execution  {first}", f"run        {tags['dvc.crops.run']}", f"git        {'f' * 40}"):
        assert line in text
    assert "code or parameters were not as committed" in text
    assert "dvc.yaml and params.yaml differed from the commit" in text


def test_what_was_replayed_tells_no_time_of_its_own(runs: Runs, console: Console) -> None:
    first = runs.execution(origins_table())
    tags = runs.store.client.get_run(first).data.tags
    second = runs.execution(origins_table(), crops=tags["dvc.crops.key"])
    for run_id in (tags["dvc.crops.run"], second):
        runs.store.client.set_tag(run_id, REPLAYED, "now")
    runs.store.client.delete_tag(second, "git.commit")
    explain(runs.store, second, console)
    text = said(console)
    assert "  status     FINISHED, replayed from files 20" in text
    assert "  git        unknown: the code has changed\n" in text
    assert "  crops      unchanged: replayed from files 20" in text


def test_how_long_a_stage_took_is_said_with_its_parts(runs: Runs, console: Console) -> None:
    execution = runs.execution(origins_table())
    tags = runs.store.client.get_run(execution).data.tags
    runs.store.client.set_tag(tags["dvc.crops.run"], SECONDS, "7.5")
    runs.store.client.set_tag(tags["dvc.evaluate.run"], SECONDS, "20.0")
    runs.store.client.set_tag(tags["dvc.evaluate.run"], RESUMED, "1")
    explain(runs.store, execution, console)
    took = [line.split(maxsplit=1)[1] for line in said(console).splitlines() if line.split()[:1] == ["took"]]
    assert took == ["7.5 s", "20.0 s in 2 parts"]
    runs.store.client.delete_tag(tags["dvc.crops.run"], SECONDS)
    runs.store.client.update_run(tags["dvc.evaluate.run"], "RUNNING")
    explain(runs.store, execution, console)
    took = [line.split(maxsplit=1)[1] for line in said(console).splitlines() if line.split()[:1] == ["took"]]
    assert took[-2:] == ["not known", "20.0 s in 2 parts so far"]


def test_a_run_that_was_resumed_has_no_end(runs: Runs, console: Console) -> None:
    execution = runs.execution(origins_table())
    crops = runs.store.client.get_run(execution).data.tags["dvc.crops.run"]
    runs.store.client.update_run(crops, "RUNNING")
    explain(runs.store, execution, console)
    assert "  crops      ran here: RUNNING, since 20" in said(console)


def test_a_stages_run_is_explained_by_its_execution(runs: Runs, console: Console) -> None:
    execution = runs.execution(origins_table())
    explain(runs.store, runs.store.client.get_run(execution).data.tags["dvc.crops.run"][:12], console)
    assert said(console).startswith(f"Execution {execution}\n")


def test_a_run_that_made_outputs_and_is_gone_is_said(runs: Runs, console: Console) -> None:
    execution = runs.execution()
    runs.store.client.delete_run(runs.store.client.get_run(execution).data.tags["dvc.crops.run"])
    explain(runs.store, execution, console)
    assert "crops      unchanged; the run that made its outputs is not in this store" in said(console)


def test_an_execution_that_did_not_end_says_what_is_not_recorded(runs: Runs, console: Console) -> None:
    execution = runs.store.find_or_create({"physicnet.execution": str(runs.folder)}, "unended", {})
    runs.stage("crops", execution)
    explain(runs.store, execution, console)
    text = said(console)
    assert "status     RUNNING, since 20" in text
    assert "git        unknown: outside git" in text
    assert "crops      ran here" in text
    assert "Nothing is recorded of stages that were unchanged" in text
    assert "No parameters are recorded" in text


def test_the_stages_stand_in_the_order_of_the_pipeline(
    runs: Runs, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physicnet.history.declared_stages", lambda _: ["evaluate", "crops"])
    explain(runs.store, runs.execution(origins_table()), console)
    assert said(console).index("  evaluate  ") < said(console).index("  crops  ")
