"""What a run holds in MLflow: parameters, values, files, a description, the data that it read."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from physicnet.lineage import Observations, md5_of
from physicnet.tracking.store import ENTRIES_PER_REQUEST, Store, pieces

ROUNDING = 1e-5  # share by which a value of a table, six digits, may differ from the one that was logged
METRICS_PER_REQUEST = 1000  # the limit of MLflow's server
NOTE = "mlflow.note.content"  # tag: the description of a run
RULE = "\n\n---\n\n"  # of Markdown

Metric = tuple[str, float, int]  # name, value, step


def log_params(store: Store, run_id: str, params: Mapping[str, object]) -> bool:
    """Log flat parameters."""
    from mlflow.entities import Param

    known = store.client.get_run(run_id).data.params
    lacking = [Param(name, str(value)) for name, value in params.items() if name not in known]
    for part in pieces(lacking, ENTRIES_PER_REQUEST):
        store.client.log_batch(run_id, params=part)
    return bool(lacking)


def add_metrics(store: Store, run_id: str, metrics: Sequence[Metric], milliseconds: int) -> bool:
    """Log the values that are not the last ones of their name and step already."""
    known = store.client.get_run(run_id).data.metrics
    last = {
        (name, point.step): point.value
        for name in {name for name, _, _ in metrics} & known.keys()
        for point in sorted(store.client.get_metric_history(run_id, name), key=lambda point: point.timestamp)
    }
    lacking = [metric for metric in metrics if not _agree(last.get((metric[0], metric[2])), metric[1])]
    log_metrics(store, run_id, lacking, milliseconds)
    return bool(lacking)


def log_metrics(
    store: Store, run_id: str, metrics: Sequence[Metric], milliseconds: int, tags: Mapping[str, str] | None = None
) -> None:
    """Log values that belong to one moment, and set tags in the same requests."""
    from mlflow.entities import Metric as Entity
    from mlflow.entities import RunTag

    entities = [Entity(name, value, milliseconds, step) for name, value, step in metrics]
    for part in pieces(entities, METRICS_PER_REQUEST):
        store.client.log_batch(run_id, metrics=part, tags=[RunTag(*tag) for tag in (tags or {}).items()])


def keep(store: Store, run_id: str, path: Path) -> bool:
    """Log a file or folder as an artifact under its own name, in place of the one that is there."""

    def log() -> None:
        if path.is_dir():
            store.delete_artifacts(run_id, path.name)
            store.client.log_artifacts(run_id, str(path), artifact_path=path.name)
        else:
            store.client.log_artifact(run_id, str(path))

    return log_once(store, run_id, path, log)


def log_once(store: Store, run_id: str, path: Path, log: Callable[[], None]) -> bool:
    """Log a file or folder, unless its hash is the tag `dvc.out.<path>`, which it is afterwards.

    There is no such tag as long as this lasts, so that it never stands for what is there in part.
    """
    tag, md5 = f"dvc.out.{path}", md5_of(path)
    known = store.client.get_run(run_id).data.tags.get(tag)
    if known == md5:
        return False
    if known is not None:
        store.client.delete_tag(run_id, tag)
    log()
    store.client.set_tag(run_id, tag, md5)
    return True


def keeps_another(store: Store, run_id: str, path: Path) -> bool:
    """Whether a run has an artifact of that path, with another content."""
    return store.client.get_run(run_id).data.tags.get(f"dvc.out.{path}") not in {None, md5_of(path)}


def describe(store: Store, run_id: str, text: str) -> bool:
    """Set the description of a run, in Markdown; a second half that was added to it stays."""
    _, rule, added = store.client.get_run(run_id).data.tags.get(NOTE, "").partition(RULE)
    return store.tag(run_id, {NOTE: text + rule + added})


def add_description(store: Store, run_id: str, text: str) -> bool:
    """Set the second half of a run's description, below a rule; the first half stays."""
    said = store.client.get_run(run_id).data.tags.get(NOTE, "")
    return store.tag(run_id, {NOTE: said.partition(RULE)[0] + RULE + text})


def log_input(store: Store, run_id: str, read: Observations, digest: str) -> bool:
    """Log which observations a run read; MLflow takes inputs of one name and digest for the same data."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = store.client.get_run(run_id).inputs
    known = [given.dataset for given in inputs.dataset_inputs] if inputs else []
    if any((dataset.name, dataset.digest) == (read.name, digest) for dataset in known):
        return False
    columns = [
        {"name": name, "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, *read.shape]}}
        for name in read.variables
    ]
    dataset = Dataset(
        name=read.name,
        digest=digest,
        source_type="local",
        source=json.dumps({"uri": read.path}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps(columns), "targets": None}}),
        profile=json.dumps({"part": read.part, "units": dict(read.variables)} | dict(read.profile)),
    )
    store.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", read.part)])])
    return True


def keep_text(store: Store, run_id: str, name: str) -> bool:
    """Keep a file of the root as text: DVC takes every dvc.yaml below its folder for a pipeline."""
    path = store.root / name
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    if store.read_text(store.client.get_run(run_id), f"{name}.txt") == text:
        return False
    store.client.log_text(run_id, text, f"{name}.txt")
    return True


def flatten(nested: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Leaves of nested mappings, named by their path; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}{separator}{inner}": leaf for inner, leaf in flatten(value, separator).items()}
        else:
            flat[name] = value
    return flat


def _agree(known: float | None, value: float) -> bool:
    if known is None:
        return False
    return math.isclose(known, value, rel_tol=ROUNDING) or (math.isnan(known) and math.isnan(value))
