"""The history of runs in MLflow, and the one file that imports mlflow (when something is logged, not before).

One parent run stands for one execution of the pipeline: one `dvc repro`, one flow run, or one stage started by hand. A
child run stands for one stage that really ran. Every method may raise whatever MLflow raises, and may be called again
without logging anything twice: runs are looked up by a tag before they are created, and what a run has is looked at
before it is sent. Methods that return a bool say whether something was lacking.
"""

import json
import math
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
from physicnet.lineage import Observations, StageEntry, environment, git_state, md5_of, params_now_and_committed
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
PARENT = "mlflow.parentRunId"
REPLAYED = "physicnet.replayed"  # tag: when a run was made from files, so that its times are not those of the stage
RESUMED = "physicnet.resumed"  # tag: how often the stage was started again after it was killed
LEFT = "physicnet.left"  # tag: the executions in which the stage was killed before
ROUNDING = 1e-5  # share by which a value of a table, six digits, may differ from the one that was logged
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
UNREAD = {"promote", "retrain", "collect"}  # sections of params.yaml that no stage reads: no run is made of them
LONGEST_NAME = 100  # characters of the name of an execution
ID_CHARACTERS = 4  # of a run's id that name it, at least

NOTE = "mlflow.note.content"  # tag: the description of a run
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
            name = name or self._execution_name(tags.get("git.commit", ""))
            run_id = self.find_or_create({"physicnet.execution": tags["physicnet.process"]}, name, tags)
        if self.client.get_run(run_id).data.params:
            return run_id
        self.close_abandoned()
        for name in ("dvc.yaml", "params.yaml"):
            self.keep_text(run_id, name)
        self.client.log_text(run_id, environment(), "environment.txt")
        params = load_params(self.root / "params.yaml")
        self.log_params(run_id, flatten(params.model_dump(exclude=UNREAD), "."))
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

    def maker(self, entry: StageEntry) -> "Run | None":
        """The latest run of a stage, with these very inputs, that has not failed and keeps no other outputs."""
        condition = f"tags.`dvc.stage` = '{entry.name}' and tags.`dvc.key` = '{entry.key}'"
        for run in self.client.search_runs([self.experiment_id], f"{condition} and attributes.status != 'FAILED'"):
            if all(run.data.tags.get(f"dvc.out.{path}", md5) == md5 for path, md5 in entry.outs.items()):
                return run
        return None

    def resume(self, entry: StageEntry, tags: Mapping[str, str]) -> str | None:
        """Go on with the run of a stage that was killed: give it `tags`, among them its new parent; return its id.

        None if the latest run of the stage with these inputs was not killed. The parents that it leaves stay known.
        """
        run = self.maker(entry)
        if run is None or not self._was_killed(run):
            return None
        before = run.data.tags
        marks = {RESUMED: str(int(before.get(RESUMED, "0")) + 1)}
        if before[PARENT] != tags[PARENT]:
            marks[LEFT] = f"{before.get(LEFT, '')} {before[PARENT]}".strip()
        self.client.update_run(run.info.run_id, "RUNNING")
        self._tag(run.info.run_id, {**tags, **marks})
        return str(run.info.run_id)

    def log_params(self, run_id: str, params: Mapping[str, object]) -> bool:
        """Log flat parameters."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        lacking = [Param(name, str(value)) for name, value in params.items() if name not in known]
        for part in _parts(lacking, ENTRIES_PER_REQUEST):
            self.client.log_batch(run_id, params=part)
        return bool(lacking)

    def add_metrics(self, run_id: str, metrics: Sequence[Metric], milliseconds: int) -> bool:
        """Log the values that are not the last ones of their name and step already."""
        known = self.client.get_run(run_id).data.metrics
        last = {
            (name, point.step): point.value
            for name in {name for name, _, _ in metrics} & known.keys()
            for point in sorted(self.client.get_metric_history(run_id, name), key=lambda point: point.timestamp)
        }
        lacking = [metric for metric in metrics if not _agree(last.get((metric[0], metric[2])), metric[1])]
        self.log_metrics(run_id, lacking, milliseconds)
        return bool(lacking)

    def log_metrics(self, run_id: str, metrics: Sequence[Metric], milliseconds: int) -> None:
        """Log values that belong to one moment."""
        from mlflow.entities import Metric as Entity

        entities = [Entity(name, value, milliseconds, step) for name, value, step in metrics]
        for part in _parts(entities, METRICS_PER_REQUEST):
            self.client.log_batch(run_id, metrics=part)

    def keep(self, run_id: str, path: Path) -> bool:
        """Log a file or folder as an artifact under its own name; once it is there, the tag `dvc.out.<path>` is its
        hash."""
        made = {f"dvc.out.{path}": md5_of(path)}
        if made.items() <= self.client.get_run(run_id).data.tags.items():
            return False
        if path.is_dir():
            self.client.log_artifacts(run_id, str(path), artifact_path=path.name)
        else:
            self.client.log_artifact(run_id, str(path))
        return self._tag(run_id, made)

    def keeps_another(self, run_id: str, path: Path) -> bool:
        """Whether a run has an artifact of that path, with another content."""
        return self.client.get_run(run_id).data.tags.get(f"dvc.out.{path}") not in {None, md5_of(path)}

    def describe(self, run_id: str, text: str) -> bool:
        """Set the description of a run, in Markdown; a second half that was added to it stays."""
        _, rule, added = self.client.get_run(run_id).data.tags.get(NOTE, "").partition(RULE)
        return self._tag(run_id, {NOTE: text + rule + added})

    def add_description(self, run_id: str, text: str) -> bool:
        """Set the second half of a run's description, below a rule; the first half stays."""
        said = self.client.get_run(run_id).data.tags.get(NOTE, "")
        return self._tag(run_id, {NOTE: said.partition(RULE)[0] + RULE + text})

    def log_input(self, run_id: str, read: Observations, digest: str) -> bool:
        """Log which observations a run read; MLflow takes inputs of one name and digest for the same data."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = self.client.get_run(run_id).inputs
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
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", read.part)])])
        return True

    def show(self, run_id: str, key: str, step: int, picture: Path) -> bool:
        """Log a picture of a series: the page of a run, and the comparison of runs, show it by its step."""
        from PIL import Image

        begin = f"images/{key.replace('/', '~')}+step+{step}+"
        if any(file.path.startswith(begin) for file in self.client.list_artifacts(run_id, "images")):
            return False
        with Image.open(picture) as image:
            self.client.log_image(run_id, image, key=key, step=step)
        return True

    def link_inputs(self, run_id: str, inputs: Mapping[str, str]) -> bool:
        """Tag a run with those that made its inputs, where one is known: `inputs` are paths with their hashes."""
        known = self.client.get_run(run_id).data.tags
        links: dict[str, str] = {}
        for path, md5 in inputs.items():
            made = None if f"dvc.dep.{path}.run" in known else self.find({f"dvc.out.{path}": md5})
            if made is not None:
                links[f"dvc.dep.{path}.run"] = made.info.run_id
        return self._tag(run_id, links)

    def end(self, run_id: str, status: str) -> None:
        """End a run; `status` is FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def link_stages(self, run_id: str, entries: Mapping[str, StageEntry]) -> bool:
        """Tag an execution with each stage's key and with the child run, of this execution or an earlier one, that
        made the stage's outputs; keep dvc.lock, which tells the data where git cannot."""
        links = {f"dvc.{name}.key": entry.key for name, entry in entries.items()}
        known = self.client.get_run(run_id).data.tags
        for name, entry in entries.items():
            is_linked = f"dvc.{name}.run" in known and known.get(f"dvc.{name}.key") == entry.key
            made = None if is_linked else self.maker(entry)
            if made is not None:
                links[f"dvc.{name}.run"] = made.info.run_id
        is_new = self._tag(run_id, links)
        return self.keep_text(run_id, "dvc.lock") or is_new

    def close_abandoned(self) -> None:
        """End the runs whose process on this machine is gone: stages as killed, executions by their stages' ends."""
        condition = f"attributes.status = 'RUNNING' and tags.`physicnet.host` = '{socket.gethostname()}'"
        runs = self.client.search_runs([self.experiment_id], condition)
        gone = [run for run in runs if not self.is_running(run)]
        for run in sorted(gone, key=lambda run: PARENT not in run.data.tags):
            self.end(run.info.run_id, "KILLED" if PARENT in run.data.tags else self.outcome(run.info.run_id))

    def is_running(self, run: "Run") -> bool:
        """Whether the process of a run works on this machine."""
        is_here = run.data.tags.get("physicnet.host") == socket.gethostname()
        return run.info.status == "RUNNING" and is_here and _is_running(run.data.tags["physicnet.process"])

    def outcome(self, parent_id: str) -> str:
        """How an execution ended, by its stages' ends."""
        statuses = {child.info.status for child in self.children(parent_id)}
        return "FINISHED" if statuses == {"FINISHED"} else "FAILED"

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
            known = self.version_of(run_id)
            return known or str(self.client.create_model_version(REGISTERED, f"runs:/{run_id}/{MODEL}", run_id).version)

    def version_of(self, run_id: str) -> str | None:
        """The version of the registered model that is this run's logged model; None if there is none."""
        found = self.client.search_model_versions(f"name = '{REGISTERED}' and run_id = '{run_id}'")
        return str(found[0].version) if found else None

    def holder(self, alias: str) -> str | None:
        """The version of the registered model that has an alias; None if none has."""
        found = self.client.search_registered_models(f"name = '{REGISTERED}'")
        return str(found[0].aliases[alias]) if found and alias in found[0].aliases else None

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
        condition = f"tags.`{PARENT}` = '{run_id}'"
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
                f"{one_line(error)}. Repair the file, or run the stage again"
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
            reason = one_line(error)
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
                    f"up? {one_line(error)}"
                ) from error
            uri = self.uri if self.is_default else '"$MLFLOW_TRACKING_URI"'  # which may hold a password
            raise HistoryError(
                f"The store of runs at {self.place} was written by an older MLflow. Make a copy of its database, then: "
                f"mlflow db upgrade {uri}"
            ) from error

    def _execution_name(self, commit: str) -> str:
        """The commit, and what of params.yaml is no longer as committed there."""
        now, committed = (flatten(params, ".") for params in params_now_and_committed(self.root))
        changed = [
            f"{name}={value}" for name, value in now.items() if name not in committed or committed[name] != value
        ]
        name = f"pipeline {commit[:7]}".strip() + (": " + ", ".join(changed) if changed else "")
        return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"

    def keep_text(self, run_id: str, name: str) -> bool:
        """Keep a file of the root as text: DVC takes every dvc.yaml below its folder for a pipeline."""
        path = self.root / name
        if not path.exists():
            return False
        text = path.read_text(encoding="utf-8")
        if self.read_text(self.client.get_run(run_id), f"{name}.txt") == text:
            return False
        self.client.log_text(run_id, text, f"{name}.txt")
        return True

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> bool:
        """Set tags, in one request where the server takes so many; none if all are set."""
        from mlflow.entities import RunTag

        known = self.client.get_run(run_id).data.tags
        lacking = [RunTag(name, value) for name, value in tags.items() if known.get(name) != value]
        for part in _parts(lacking, ENTRIES_PER_REQUEST):
            self.client.log_batch(run_id, tags=part)
        return bool(lacking)

    def _was_killed(self, run: "Run") -> bool:
        is_here = run.data.tags.get("physicnet.host") == socket.gethostname()
        is_gone = run.info.status == "RUNNING" and is_here and not self.is_running(run)
        return run.info.status == "KILLED" or is_gone


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


def _agree(known: float | None, value: float) -> bool:
    if known is None:
        return False
    return math.isclose(known, value, rel_tol=ROUNDING) or (math.isnan(known) and math.isnan(value))


def one_line(error: Exception) -> str:
    """The beginning of a message, for the screen."""
    return " ".join(str(error).split())[:300]


def _outside_of_dvc(folder: Path) -> Path:
    """The repository folder; `dvc exp run --temp` and queued experiments run in copies below its `.dvc/tmp`."""
    return next((above.parent for above in folder.parents if above.name == ".dvc"), folder)


def _parts(entries: list, size: int) -> Iterator[list]:
    return (entries[start : start + size] for start in range(0, len(entries), size))
