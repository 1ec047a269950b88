from pathlib import Path

from physicnet.tracking import holdings
from physicnet.tracking.holdings import RULE, flatten
from physicnet.tracking.store import Store


def test_nothing_is_logged_twice_when_a_request_is_repeated(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "metrics"}, "train", {})
    for _ in range(2):
        holdings.log_metrics(store, run_id, [("loss", 0.5, 1), ("loss", 0.25, 2)], 1000)
    assert [(point.step, point.value) for point in store.client.get_metric_history(run_id, "loss")] == [
        (1, 0.5),
        (2, 0.25),
    ]


def test_more_values_than_the_server_takes_in_one_request_are_logged(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "many"}, "evaluate", {})
    holdings.log_metrics(store, run_id, [("loss", float(step), step) for step in range(1001)], 1000)
    holdings.log_params(store, run_id, {f"name{index}": index for index in range(101)})
    assert len(store.client.get_metric_history(run_id, "loss")) == 1001
    assert len(store.client.get_run(run_id).data.params) == 101


def test_outputs_are_kept_and_a_file_is_known_by_its_hash(store: Store, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "flow.png").write_bytes(b"png")
    (tmp_path / "model").write_bytes(b"abc")
    run_id = store.find_or_create({"physicnet.child": "outputs"}, "train", {})
    holdings.keep(store, run_id, tmp_path / "figures")
    holdings.keep(store, run_id, tmp_path / "model")
    assert {file.path for file in store.client.list_artifacts(run_id)} == {"figures", "model"}
    assert f"dvc.out.{tmp_path / 'figures'}" in store.client.get_run(run_id).data.tags
    made = store.find({f"dvc.out.{tmp_path / 'model'}": "900150983cd24fb0d6963f7d28e17f72"})
    assert made is not None
    assert made.info.run_id == run_id


def test_a_description_keeps_its_first_half(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "described"}, "train", {})
    holdings.describe(store, run_id, "first")
    for text in ("old", "new"):
        holdings.add_description(store, run_id, text)
    assert store.client.get_run(run_id).data.tags["mlflow.note.content"] == f"first{RULE}new"
    assert holdings.describe(store, run_id, "begun")
    assert not holdings.describe(store, run_id, "begun")
    assert store.client.get_run(run_id).data.tags["mlflow.note.content"] == f"begun{RULE}new"


def test_values_that_a_run_has_are_not_added(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "values"}, "train", {})
    nan = float("nan")
    holdings.log_metrics(store, run_id, [("loss", 1 / 3, 1), ("skill", nan, 1)], 1000)
    assert not holdings.add_metrics(store, run_id, [("loss", 0.333333, 1), ("skill", nan, 1)], 2000)
    assert holdings.add_metrics(store, run_id, [("loss", 0.333333, 1), ("loss", 0.25, 2)], 2000)
    assert holdings.add_metrics(store, run_id, [("loss", 0.5, 1)], 3000)  # the last one counts
    points = store.client.get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 1 / 3), (2, 0.25), (1, 0.5)]


def test_a_run_that_keeps_another_content_is_known(store: Store, tmp_path: Path) -> None:
    (tmp_path / "origins.csv").write_text("a")
    run_id = store.find_or_create({"physicnet.child": "another"}, "train", {})
    assert not holdings.keeps_another(store, run_id, tmp_path / "origins.csv")
    assert holdings.keep(store, run_id, tmp_path / "origins.csv")
    assert not holdings.keep(store, run_id, tmp_path / "origins.csv")
    (tmp_path / "origins.csv").write_text("b")
    assert holdings.keeps_another(store, run_id, tmp_path / "origins.csv")


def test_nested_names_become_paths() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": "f"}, ".") == {"a.b.c": 1, "a.d": [1, 2], "e": "f"}
