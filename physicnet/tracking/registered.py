"""The registered model `physicnet`: logged models of runs as its versions, their tags and their aliases."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from physicnet.fields import DataError
from physicnet.tracking.store import HistoryError, Store, one_line

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as ModelVersion  # those who read versions take it from here
    from mlflow.types import Schema

REGISTERED = "physicnet"  # the registered model
CHALLENGER = "challenger"  # alias of the version that was evaluated last
CHAMPION = "champion"  # alias of the version that is served
SHA256 = "physicnet.sha256"  # tag of a version: the hash of its checkpoint
FORMER = "promotion.former"  # tag of the registered model: the champions of before that are left, the latest last
MODEL = "model"  # where a run keeps its logged model
logger = logging.getLogger(__name__)
ADDRESS = re.compile(rf"models:/{REGISTERED}(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


@runtime_checkable
class Predicting(Protocol):
    """A model that takes and gives named arrays."""

    def predict(self, arrays: dict[str, np.ndarray], params: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the answer to a request."""
        ...


class Answering:
    """A model whose errors are MLflow's, for MLflow sends any other to the client with its stack trace.

    A `DataError` is status 400 and its message. Another error is ours: status 500, and the trace is in the log.
    """

    def __init__(self, model: Predicting) -> None:
        self.model = model

    def predict(self, arrays: dict[str, np.ndarray], params: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the model's answer.

        Raises:
            MlflowException: if it has none.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.model.predict(arrays, params)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        except Exception as error:
            logger.exception("a forecast failed")
            raise MlflowException("the forecast failed; the log says why") from error  # an internal error


def log_model(
    store: Store,
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
    client = store.client
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


def register(store: Store, run_id: str) -> str:
    """The version of the registered model `physicnet` that is this run's logged model: found, or created."""
    with store.lock:
        if not store.client.search_registered_models(f"name = '{REGISTERED}'"):
            store.client.create_registered_model(REGISTERED)
        known = version_of(store, run_id)
        return known or str(store.client.create_model_version(REGISTERED, f"runs:/{run_id}/{MODEL}", run_id).version)


def version_of(store: Store, run_id: str) -> str | None:
    """The version of the registered model that is this run's logged model; None if there is none."""
    found = store.client.search_model_versions(f"name = '{REGISTERED}' and run_id = '{run_id}'")
    return str(found[0].version) if found else None


def holder(store: Store, alias: str) -> str | None:
    """The version of the registered model that has an alias; None if none has."""
    found = store.client.search_registered_models(f"name = '{REGISTERED}'")
    return str(found[0].aliases[alias]) if found and alias in found[0].aliases else None


def name_version(store: Store, alias: str, version: str) -> None:
    """Give an alias to a version of the registered model; who had it before loses it."""
    store.client.set_registered_model_alias(REGISTERED, alias, version)


def version(store: Store, alias: str) -> "ModelVersion | None":
    """The version of the registered model that has an alias; None if none has.

    Raises:
        HistoryError: if there is no store.
    """
    store.require_existing()
    found = store.client.search_registered_models(f"name = '{REGISTERED}'")
    number = found[0].aliases.get(alias) if found else None
    return store.client.get_model_version(REGISTERED, number) if number else None


def former_versions(store: Store) -> "list[ModelVersion]":
    """The versions that were champion before a promotion, the latest last; those that were deleted are left out."""
    numbers = store.client.get_registered_model(REGISTERED).tags.get(FORMER, "").split()
    versions = {str(each.version): each for each in store.client.search_model_versions(f"name = '{REGISTERED}'")}
    return [versions[number] for number in numbers if number in versions]


def keep_former(store: Store, versions: Sequence[str]) -> None:
    """Set the versions that `former_versions` returns."""
    store.client.set_registered_model_tag(REGISTERED, FORMER, " ".join(versions))


def tag_version(store: Store, version: str, tags: Mapping[str, str], description: str | None = None) -> bool:
    """Set tags of a version, and its description, in Markdown; say whether a tag was another one."""
    known = store.client.get_model_version(REGISTERED, version).tags
    lacking = {name: value for name, value in tags.items() if known.get(name) != value}
    for name, value in lacking.items():
        store.client.set_model_version_tag(REGISTERED, version, name, value)
    if description is not None:
        store.client.update_model_version(REGISTERED, version, description)
    return bool(lacking)


def take_name(store: Store, alias: str) -> None:
    """Take an alias from the version that has it."""
    store.client.delete_registered_model_alias(REGISTERED, alias)


def fetch_model(store: Store, version: "ModelVersion", folder: Path) -> Path:
    """Download the model of a version, whose checkpoint is the file in `data/`, and return its folder.

    Raises:
        HistoryError: if it is not there.
    """
    from mlflow.exceptions import MlflowException

    reason = "data/ holds no checkpoint"
    try:
        path = Path(store.client.download_artifacts(str(version.run_id), MODEL, str(folder)))
        if any(path.glob("data/*")):
            return path
    except (MlflowException, OSError) as error:
        reason = one_line(error)
    raise HistoryError(
        f"The model of version {version.version} (run {version.run_id}) cannot be read: {reason}. Restore its "
        "files, or check out the commit and the data of that run; dvc repro --force --single-item evaluate then "
        "registers it anew"
    )


def fetch_checkpoint(store: Store, address: str, folder: Path) -> Path:
    """Download the checkpoint of an address, and return its path; see `fetch`."""
    return next(fetch(store, address, folder).glob("data/*"))


def fetch(store: Store, address: str, folder: Path) -> Path:
    """Download the model of `models:/physicnet@ALIAS` or `models:/physicnet/VERSION`, and return its folder.

    Raises:
        HistoryError: if the address is none of these, the registered model has no such version, or its files are gone.
    """
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise HistoryError(f"{address} names no model; write models:/{REGISTERED}@{CHAMPION} or models:/{REGISTERED}/3")
    store.require_existing()
    numbers = {str(each.version): each for each in store.client.search_model_versions(f"name = '{REGISTERED}'")}
    wanted = holder(store, found["alias"]) if found["alias"] else found["version"]
    if wanted not in numbers:
        raise HistoryError(
            f"There is no {address} in {store.place}: {REGISTERED} has the versions {sorted(numbers) or 'none'}; "
            "physicnet promote names the champion"
        )
    return fetch_model(store, numbers[wanted], folder)


def _schema(arrays: Mapping[str, np.ndarray]) -> "Schema":
    """Any length of every dimension, any length of texts."""
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(np.dtype(array.dtype.type), (-1,) * array.ndim, name) for name, array in arrays.items()])
