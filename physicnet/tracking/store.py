"""The store of runs in MLflow: where it is, how it is opened, and the finding, making and ending of a run.

The modules of this package are the only ones that import mlflow, when something is logged and not before. Whatever they
do may raise whatever MLflow raises, and may be repeated without logging anything twice: runs are looked up by a tag
before they are created, and what a run has is looked at before it is sent. What returns a bool says whether something
was lacking.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from filelock import FileLock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Run  # those who read runs take it from here

EXPERIMENT = "physicnet"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # or its page would be about language models
PARENT = "mlflow.parentRunId"
ENTRIES_PER_REQUEST = 100  # the limit of MLflow's server
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
    def lock(self) -> FileLock:
        """What processes of this repository take in turns, so that nothing is made twice."""
        folder = self.home / ".physicnet"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / "tracking.lock", timeout=TURNS)

    @property
    def database(self) -> Path | None:
        """The file of a store that is one of SQLite; None for a server's."""
        beginning = "sqlite:///"
        return Path(self.uri.removeprefix(beginning)) if self.uri.startswith(beginning) else None

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

        with self.lock, self._opening():
            if self.is_default:
                (self.home / "mlflow").mkdir(exist_ok=True)
            self._make_whole()
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

    def find_execution(self) -> "Run | None":
        """The latest execution of the pipeline."""
        found = self.client.search_runs([self.experiment_id], "tags.`physicnet.execution` != ''", max_results=1)
        return found[0] if found else None

    def end(self, run_id: str, status: str) -> None:
        """End a run; `status` is FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

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
        self.require_existing()
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

    def delete_artifacts(self, run_id: str, path: str) -> None:
        """Delete a file or folder of a run's artifacts, if it is there."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = self.client.get_run(run_id).info.artifact_uri
        get_artifact_repository(uri, tracking_uri=self.uri).delete_artifacts(path)  # type: ignore[no-untyped-call]

    def require_existing(self) -> None:
        """Refuse to make a store where one is to be read.

        Raises:
            HistoryError: if the default store is not there.
        """
        if self.is_default and not (self.home / "mlflow" / "mlflow.db").is_file():
            raise HistoryError(
                f"{self.home / 'mlflow'} holds no runs: change to the folder of params.yaml, or set MLFLOW_TRACKING_URI"
            )

    def _make_whole(self) -> None:
        """Make the file of SQLite that is not there yet, under another name until it is complete.

        MLflow makes it by many statements, and never again opens one that a full disk or a kill has left half made.
        The other name is never used twice: MLflow keeps a connection to it for as long as the process lives.
        """
        if self.database is None or self.database.exists():
            return
        from mlflow import MlflowClient

        for left in self.database.parent.glob(f".{self.database.name}.*.partial*"):
            left.unlink()
        partial = self.database.with_name(f".{self.database.name}.{uuid4().hex[:8]}.partial")
        MlflowClient(tracking_uri=f"sqlite:///{partial}")
        partial.replace(self.database)

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

    def tag(self, run_id: str, tags: Mapping[str, str]) -> bool:
        """Set tags, in one request where the server takes so many; none if all are set."""
        from mlflow.entities import RunTag

        known = self.client.get_run(run_id).data.tags
        lacking = [RunTag(name, value) for name, value in tags.items() if known.get(name) != value]
        for part in pieces(lacking, ENTRIES_PER_REQUEST):
            self.client.log_batch(run_id, tags=part)
        return bool(lacking)


def one_line(error: Exception) -> str:
    """The beginning of a message, for the screen, without the password that an address in it may hold."""
    return re.sub(r"(://)[^/@\s]+@", r"\1", " ".join(str(error).split()))[:300]


def pieces(entries: list, size: int) -> Iterator[list]:
    """Cut a list into pieces of a size."""
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _outside_of_dvc(folder: Path) -> Path:
    """The repository folder; `dvc exp run --temp` and queued experiments run in copies below its `.dvc/tmp`."""
    return next((above.parent for above in folder.parents if above.name == ".dvc"), folder)
