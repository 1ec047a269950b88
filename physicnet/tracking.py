"""The history of runs in MLflow, and the one file that imports mlflow (when something is logged, not before).

One parent run stands for one execution of the pipeline: one `dvc repro`, one flow run, or one stage started by hand. A
child run stands for one stage that really ran. Every method may raise whatever MLflow raises, and may be called again
without logging anything twice: runs are looked up by a tag before they are created, and MLflow ignores a metric that
agrees in run, name, step, time and value.
"""

import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from filelock import FileLock

from physicnet.config import load_params
from physicnet.lineage import Observations, StageEntry, environment, git_state, md5_of
from physicnet.process import is_alive

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Run  # those who read runs take it from here
    from mlflow.entities.model_registry import ModelVersion as ModelVersion  # and versions of the model
    from mlflow.types import Schema

EXPERIMENT = "physicnet"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # or its page would be about language models
REGISTERED = "physicnet"  # the registered model
CHALLENGER = "challenger"  # alias of the version that was evaluated last
CHAMPION = "champion"  # alias of the version that is served
SHA256 = "physicnet.sha256"  # tag of a version: the hash of its checkpoint
FORMER = "promotion.former"  # tag of the registered model: the champions of before that are left, the latest last
MODEL = "model"  # where a run keeps its logged model
PARENT_VARIABLE = "PHYSICNET_PARENT_RUN_ID"  # set by the flow; MLFLOW_RUN_ID would re-open the parent itself
METRICS_PER_REQUEST = 1000  # limits of MLflow's server
ENTRIES_PER_REQUEST = 100
TURNS = 180  # seconds to wait for other processes; creating the store takes each of them some 40 on a busy machine
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # who calls us repeats; a request that waits would hold up a stage
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
ID_CHARACTERS = 4  # of a run's id that name it, at least

RULE = "\n\n---\n\n"  # of Markdown

Metric = tuple[str, float, int]  # name, value, step


class HistoryError(ValueError):
    """The store of runs, or a run in it, cannot be used as asked; the message names it and the remedy."""


class Store:
    """The experiment `physicnet` at `MLFLOW_TRACKING_URI`, else in `mlflow/` of the repository folder.

    Nothing is opened before the first use. `root` is the folder of params.yaml.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = _outside_of_dvc(root)
        self.is_default = not os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @cached_property
    def _lock(self) -> FileLock:
        folder = self.home / ".physicnet"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / "tracking.lock", timeout=TURNS)

    @property
    def place(self) -> str:
        """Where the store is, without the password that an address may hold."""
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.hostname}:{parts.port or ''}".rstrip(":") if parts.hostname else self.uri

    @cached_property
    def client(self) -> "MlflowClient":
        """The client; opening the default store creates it. A file of SQLite is lost if two processes create it."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        with self._lock, self._opening():
            if self.is_default:
                (self.home / "mlflow").mkdir(exist_ok=True)
            client = MlflowClient(tracking_uri=self.uri)
            if client.get_experiment_by_name(EXPERIMENT) is None:
                artifacts = (self.home / "mlflow" / "artifacts").as_uri() if self.is_default else None
                client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=KIND)
            return client

    @cached_property
    def experiment_id(self) -> str:
        """The id of the experiment."""
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None, "the experiment was created with the client"
        return str(experiment.experiment_id)

    def open_execution(self, process: psutil.Process, name: str | None = None) -> str:
        """The parent run of everything below `process`: found, or created with all parameters and the pipeline."""
        tags = process_tags(process) | git_state(self.root, ["dvc.yaml", "params.yaml"])
        with self._lock:
            name = name or f"pipeline {tags.get('git.commit', '')[:7]}".strip()
            run_id = self.find_or_create({"physicnet.execution": tags["physicnet.process"]}, name, tags)
        if self.client.get_run(run_id).data.params:
            return run_id
        self.close_abandoned()
        self._keep_text(run_id, "dvc.yaml", "params.yaml")
        self.client.log_text(run_id, environment(), "environment.txt")
        self.log_params(run_id, flatten(load_params(self.root / "params.yaml").model_dump(), "."))
        return run_id

    def find_or_create(self, identity: Mapping[str, str], name: str | None, tags: Mapping[str, str]) -> str:
        """The run that carries the tags `identity`; if there is none, a new one that carries all `tags` as well."""
        found = self.find(identity)
        if found is not None:
            return str(found.info.run_id)
        created = self.client.create_run(self.experiment_id, tags={**tags, **identity}, run_name=name)
        return str(created.info.run_id)

    def find(self, tags: Mapping[str, str]) -> "Run | None":
        """The latest run that carries all these tags."""
        condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self.client.search_runs([self.experiment_id], condition, max_results=1)
        return found[0] if found else None

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Log flat parameters."""
        from mlflow.entities import Param

        for part in _parts([Param(name, str(value)) for name, value in params.items()], ENTRIES_PER_REQUEST):
            self.client.log_batch(run_id, params=part)

    def log_metrics(self, run_id: str, metrics: Sequence[Metric], milliseconds: int) -> None:
        """Log values that belong to one moment."""
        from mlflow.entities import Metric as Entity

        entities = [Entity(name, value, milliseconds, step) for name, value, step in metrics]
        for part in _parts(entities, METRICS_PER_REQUEST):
            self.client.log_batch(run_id, metrics=part)

    def keep(self, run_id: str, path: Path) -> None:
        """Log a file or folder as an artifact under its own name; a file's hash becomes the tag `dvc.out.<path>`."""
        if path.is_dir():
            self.client.log_artifacts(run_id, str(path), artifact_path=path.name)
            return
        self.client.log_artifact(run_id, str(path))
        self.client.set_tag(run_id, f"dvc.out.{path}", md5_of(path))

    def describe(self, run_id: str, text: str) -> None:
        """Set the description of a run, in Markdown."""
        self.client.set_tag(run_id, "mlflow.note.content", text)

    def add_description(self, run_id: str, text: str) -> None:
        """Set the second half of a run's description, below a rule; the first half stays."""
        said = self.client.get_run(run_id).data.tags.get("mlflow.note.content", "")
        self.describe(run_id, said.partition(RULE)[0] + RULE + text)

    def log_input(self, run_id: str, read: Observations, digest: str) -> None:
        """Log which observations a run read; MLflow takes inputs of one name and digest for the same data."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

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
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", read.part)])])

    def show(self, run_id: str, key: str, step: int, picture: Path) -> None:
        """Log a picture of a series: the page of a run, and the comparison of runs, show it by its step."""
        from PIL import Image

        begin = f"images/{key.replace('/', '~')}+step+{step}+"
        if not any(file.path.startswith(begin) for file in self.client.list_artifacts(run_id, "images")):
            with Image.open(picture) as image:
                self.client.log_image(run_id, image, key=key, step=step)

    def link_inputs(self, run_id: str, inputs: Mapping[str, str]) -> None:
        """Tag a run with those that made its inputs, where one is known: `inputs` are paths with their hashes."""
        for path, md5 in inputs.items():
            made = self.find({f"dvc.out.{path}": md5})
            if made is not None:
                self.client.set_tag(run_id, f"dvc.dep.{path}.run", made.info.run_id)

    def end(self, run_id: str, status: str) -> None:
        """End a run; `status` is FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def link_stages(self, run_id: str, entries: Mapping[str, StageEntry]) -> None:
        """Tag an execution with each stage's key and with the child run, of this execution or an earlier one, that
        made the stage's outputs; keep dvc.lock, which tells the data where git cannot."""
        for name, entry in entries.items():
            self.client.set_tag(run_id, f"dvc.{name}.key", entry.key)
            made = self.find({"dvc.stage": name, "dvc.key": entry.key})
            if made is not None:
                self.client.set_tag(run_id, f"dvc.{name}.run", made.info.run_id)
        self._keep_text(run_id, "dvc.lock")

    def close_abandoned(self) -> None:
        """End the runs whose process on this machine is gone: stages as killed, executions by their stages' ends."""
        condition = f"attributes.status = 'RUNNING' and tags.`physicnet.host` = '{socket.gethostname()}'"
        runs = self.client.search_runs([self.experiment_id], condition)
        gone = [run for run in runs if not _is_running(run.data.tags["physicnet.process"])]
        for run in sorted(gone, key=lambda run: "mlflow.parentRunId" not in run.data.tags):
            is_child = "mlflow.parentRunId" in run.data.tags
            self.end(run.info.run_id, "KILLED" if is_child else self._outcome(run.info.run_id))

    def server_command(self, port: int) -> list[str]:
        """Arguments of Python that serve the user interface of this store on this machine alone."""
        self.close_abandoned()
        where = ["--backend-store-uri", self.uri, "--host", "127.0.0.1", "--port", str(port)]
        return ["-m", "mlflow", "server", *where, "--workers", "1"]

    @property
    def page(self) -> str:
        """The page of the user interface that compares the runs, below the server's address."""
        return f"/#/experiments/{self.experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"

    def log_model(
        self,
        run_id: str,
        checkpoint: Path,
        *,
        loader: str,
        config: Mapping[str, Any],
        example: Mapping[str, np.ndarray],
        params: Mapping[str, Any],
        answer: Mapping[str, np.ndarray],
        requirements: list[str],
    ) -> str:
        """Log a checkpoint as a model that MLflow can load and serve, below `model/` of the run; return its URI.

        Args:
            run_id: the run.
            checkpoint: the file that `_load_pyfunc` of the module `loader` gets, with `config`, to make the model.
            loader: a module of an installed package.
            config: what JSON can hold.
            example: what the model takes, by name: any array of these types and numbers of dimensions.
            params: what else it takes, as it is where nothing else is asked for.
            answer: what it gives for the example.
            requirements: the packages that it needs, as pip takes them.
        """
        client = self.client
        from mlflow.models import Model, ModelSignature, infer_signature
        from mlflow.pyfunc import save_model

        signature = ModelSignature(_schema(example), _schema(answer), infer_signature(params=dict(params)).params)
        with TemporaryDirectory() as folder:
            save_model(
                f"{folder}/{MODEL}",
                loader_module=loader,
                data_path=str(checkpoint),
                model_config=dict(config),
                signature=signature,
                input_example=(dict(example), dict(params)),
                pip_requirements=requirements,
                mlflow_model=Model(artifact_path=MODEL, run_id=run_id),
            )
            client.log_artifacts(run_id, f"{folder}/{MODEL}", MODEL)
        return f"runs:/{run_id}/{MODEL}"

    def register(self, run_id: str) -> str:
        """The version of the registered model `physicnet` that is this run's logged model: found, or created."""
        with self._lock:
            if not self.client.search_registered_models(f"name = '{REGISTERED}'"):
                self.client.create_registered_model(REGISTERED)
            found = self.client.search_model_versions(f"name = '{REGISTERED}' and run_id = '{run_id}'")
            if found:
                return str(found[0].version)
            return str(self.client.create_model_version(REGISTERED, f"runs:/{run_id}/{MODEL}", run_id).version)

    def name_version(self, alias: str, version: str) -> None:
        """Give an alias to a version of the registered model; who had it before loses it."""
        self.client.set_registered_model_alias(REGISTERED, alias, version)

    def run(self, reference: str) -> "Run":
        """The run of that id, or the only one whose id begins so.

        Raises:
            HistoryError: if there is none, or several.
        """
        if not re.fullmatch(rf"[0-9a-f]{{{ID_CHARACTERS},}}", reference):
            raise HistoryError(
                f"{reference!r} is not the id of a run: give the id, or the {ID_CHARACTERS} or more characters of 0-9 "
                "and a-f that it begins with; physicnet ui shows all runs"
            )
        self._require()
        condition = f"attributes.run_id LIKE '{reference}%'"
        found = self.client.search_runs([self.experiment_id], condition, max_results=10)
        if not found:
            raise HistoryError(f"No run at {self.place} has an id that begins with {reference}; physicnet ui shows all")
        if len(found) > 1:
            names = ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in found)
            raise HistoryError(f"{reference} begins the ids of several runs: {names}. Give more characters")
        return found[0]

    def children(self, run_id: str) -> "list[Run]":
        """The stages that ran in an execution, oldest first."""
        condition = f"tags.`mlflow.parentRunId` = '{run_id}'"
        return list(self.client.search_runs([self.experiment_id], condition, order_by=["attributes.start_time ASC"]))

    def read_text(self, run: "Run", name: str) -> str | None:
        """The text of an artifact; None if the run has none of that name.

        Raises:
            HistoryError: if it cannot be read.
        """
        from mlflow.exceptions import MlflowException

        try:
            if name not in {file.path for file in self.client.list_artifacts(run.info.run_id)}:
                return None
            with TemporaryDirectory() as folder:
                path = Path(self.client.download_artifacts(run.info.run_id, name, folder))
                return path.read_text(encoding="utf-8")
        except (MlflowException, OSError, UnicodeDecodeError) as error:
            raise HistoryError(
                f"{name} of run {run.info.run_id} cannot be read from {run.info.artifact_uri}: "
                f"{_one_line(error)}. Repair the file, or run the stage again"
            ) from error

    def version(self, alias: str) -> "ModelVersion | None":
        """The version of the registered model that has an alias; None if none has.

        Raises:
            HistoryError: if there is no store.
        """
        self._require()
        found = self.client.search_registered_models(f"name = '{REGISTERED}'")
        number = found[0].aliases.get(alias) if found else None
        return self.client.get_model_version(REGISTERED, number) if number else None

    def former_versions(self) -> "list[ModelVersion]":
        """The versions that were champion before a promotion, the latest last; those that were deleted are left out."""
        numbers = self.client.get_registered_model(REGISTERED).tags.get(FORMER, "").split()
        versions = {str(each.version): each for each in self.client.search_model_versions(f"name = '{REGISTERED}'")}
        return [versions[number] for number in numbers if number in versions]

    def keep_former(self, versions: Sequence[str]) -> None:
        """Set the versions that `former_versions` returns."""
        self.client.set_registered_model_tag(REGISTERED, FORMER, " ".join(versions))

    def tag_version(self, version: str, tags: Mapping[str, str], description: str | None = None) -> None:
        """Set tags of a version, and its description, in Markdown."""
        for name, value in tags.items():
            self.client.set_model_version_tag(REGISTERED, version, name, value)
        if description is not None:
            self.client.update_model_version(REGISTERED, version, description)

    def take_name(self, alias: str) -> None:
        """Take an alias from the version that has it."""
        self.client.delete_registered_model_alias(REGISTERED, alias)

    def fetch_model(self, version: "ModelVersion", folder: Path) -> Path:
        """Download the model of a version, whose checkpoint is the file in `data/`, and return its folder.

        Raises:
            HistoryError: if it is not there.
        """
        from mlflow.exceptions import MlflowException

        reason = "data/ holds no checkpoint"
        try:
            path = Path(self.client.download_artifacts(str(version.run_id), MODEL, str(folder)))
            if any(path.glob("data/*")):
                return path
        except (MlflowException, OSError) as error:
            reason = _one_line(error)
        raise HistoryError(
            f"The model of version {version.version} (run {version.run_id}) cannot be read: {reason}. Restore its "
            "files, or check out the commit and the data of that run; dvc repro --force --single-item evaluate then "
            "registers it anew"
        )

    def _require(self) -> None:
        """Refuse to make a store where one is to be read.

        Raises:
            HistoryError: if the default store is not there.
        """
        if self.is_default and not (self.home / "mlflow" / "mlflow.db").is_file():
            raise HistoryError(
                f"{self.home / 'mlflow'} holds no runs: change to the folder of params.yaml, or set MLFLOW_TRACKING_URI"
            )

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Say what a user can do about a store that MLflow cannot open."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if "out-of-date database schema" not in str(error):
                raise HistoryError(
                    f"The store of runs at {self.place} cannot be opened; is MLFLOW_TRACKING_URI right, and the server "
                    f"up? {_one_line(error)}"
                ) from error
            uri = self.uri if self.is_default else '"$MLFLOW_TRACKING_URI"'  # which may hold a password
            raise HistoryError(
                f"The store of runs at {self.place} was written by an older MLflow. Make a copy of its database, then: "
                f"mlflow db upgrade {uri}"
            ) from error

    def _keep_text(self, run_id: str, *names: str) -> None:
        """Keep files of the root as text: DVC takes every dvc.yaml below its folder for a pipeline."""
        for name in names:
            if (self.root / name).exists():
                self.client.log_text(run_id, (self.root / name).read_text(encoding="utf-8"), f"{name}.txt")

    def _outcome(self, parent_id: str) -> str:
        children = self.client.search_runs([self.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'")
        statuses = {child.info.status for child in children}
        return "FINISHED" if statuses == {"FINISHED"} else "FAILED"


def process_tags(process: psutil.Process) -> dict[str, str]:
    """Tags that tell which process a run belongs to, also after its number was given to another one."""
    return {"physicnet.host": socket.gethostname(), "physicnet.process": f"{process.pid}@{process.create_time():.2f}"}


def flatten(nested: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Leaves of nested mappings, named by their path; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}{separator}{inner}": leaf for inner, leaf in flatten(value, separator).items()}
        else:
            flat[name] = value
    return flat


def _schema(arrays: Mapping[str, np.ndarray]) -> "Schema":
    """Any length of every dimension, any length of texts."""
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(np.dtype(array.dtype.type), (-1,) * array.ndim, name) for name, array in arrays.items()])


def _is_running(tag: str) -> bool:
    pid = int(tag.split("@")[0])
    try:
        process = psutil.Process(pid)
        return process_tags(process)["physicnet.process"] == tag and is_alive(process)
    except psutil.NoSuchProcess:
        return False


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _outside_of_dvc(folder: Path) -> Path:
    """The repository folder; `dvc exp run --temp` and queued experiments run in copies below its `.dvc/tmp`."""
    return next((above.parent for above in folder.parents if above.name == ".dvc"), folder)


def _parts(entries: list, size: int) -> Iterator[list]:
    return (entries[start : start + size] for start in range(0, len(entries), size))
