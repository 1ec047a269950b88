"""A trained model from its checkpoint alone: observations in, a forecast out that says what it is."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr
from pydantic import ValidationError

from physicnet.checkpoint import CheckpointError
from physicnet.config import IngestConfig, MachineConfig, Thresholds
from physicnet.digest import content_hash
from physicnet.fields import DataError, Field
from physicnet.forecasting.chances import chances_of
from physicnet.forecasting.described import Made, Provenance, describe
from physicnet.forecasting.kind import Kind, metadata_of
from physicnet.forecasting.leads import num_steps
from physicnet.forecasting.observations import Observations, Reader
from physicnet.model.rollout import ModelForecaster
from physicnet.model.sharp import sharpened

TILE_CELLS = 1_000_000  # frames of more cells are forecast in tiles; such a tile takes about 1.5 GB


class Model:
    """A checkpoint, ready to forecast from files and datasets; it needs nothing but its file.

    Raises:
        CheckpointError: if the checkpoint is none of this version.
    """

    def __init__(self, checkpoint: Path, machine: MachineConfig) -> None:
        told = metadata_of(checkpoint, "ingest", "span", "step_seconds", "grid", "clip")
        try:
            IngestConfig.of_rules(told["ingest"], "1 GiB")
        except ValidationError as error:
            raise CheckpointError(
                f"{checkpoint} tells how to read observations in a way that this version does not know ({error}); "
                "train again"
            ) from None
        self.forecaster = ModelForecaster.load(checkpoint, machine)
        self.kind = Kind.of(checkpoint)
        self.sha256 = content_hash(checkpoint)
        self.rules: dict = told["ingest"]
        self.span: dict[str, str] = told["span"]
        calibrated = bool(self.forecaster.calibrations)
        self.thresholds: Thresholds = metadata_of(checkpoint, "thresholds")["thresholds"] if calibrated else {}
        self._path = checkpoint

    @property
    def units(self) -> dict[str, str]:
        """The units of each variable."""
        return {variable["channel"]: variable["units"] for variable in self.rules["variables"]}

    def forecast(
        self,
        observations: Observations,
        *,
        lead: str | int | np.timedelta64 | None = None,
        at: str | None = None,
        sharp: bool = False,
        flow: bool = False,
        regrid: bool = False,
        probabilities: bool = True,
    ) -> xr.Dataset:
        """Forecast from the newest frames of files or of a dataset.

        Args:
            observations: a dataset, or files as the model was trained on; its variables may be called as in the files
                or by their channels, and are converted to the model's units.
            lead: how far ahead: a duration such as "2h" or "90min", or a number of steps; None: as far as was trained.
            at: the time to forecast from, ISO 8601; None: that of the newest frame.
            sharp: give also each variable with the values of the last observed frame, in the order of the forecast.
            flow: give also the flow, and the share of the local level.
            regrid: bring observations of another grid spacing to the model's; the attribute `history` says how.
            probabilities: give also quantiles, and the probability of reaching the thresholds of the parameters that
                trained; both are missing beyond the trained leads.

        Returns:
            The forecast in the layout of docs/data-formats.md.

        Raises:
            CheckpointError: if the checkpoint is of a version that did not learn probabilities, and they are asked for.
            DataError: if the observations are not what the model needs, or the lead is no multiple of its step.
        """
        steps = self.forecaster.frames_out if lead is None else num_steps(lead, self.kind.step)
        past, notes = Reader(self.rules, self.kind).read(observations, at, regrid=regrid)
        return self.forecast_field(past, steps, sharp=sharp, flow=flow, probabilities=probabilities, notes=notes)

    def forecast_field(
        self,
        past: Field,
        num_leads: int,
        *,
        sharp: bool = False,
        flow: bool = False,
        probabilities: bool = True,
        notes: Sequence[str] = (),
    ) -> xr.Dataset:
        """Forecast the `num_leads` frames after a field, which is in the model's units; see `forecast`.

        `notes` tell what was done to the observations before, for the attribute `history`.
        """
        if probabilities and not self.forecaster.calibrations:
            raise CheckpointError(
                f"{self._path} does not tell how far its forecasts err: train again, or forecast without probabilities "
                "(--no-probabilities)"
            )
        past = past.isel(max(0, past.shape[0] - self.kind.frames_in), past.shape[0])
        if past.units != self.units:
            raise DataError(f"the model takes {self.units}, the observations are in {past.units}; convert them")
        self.kind.check_clock(past)
        self.kind.check_grid(past)
        frames = self.forecaster.forecast(past, num_leads)
        self.forecaster.take_saturation()  # it would gather for ever
        made = Made(
            frames,
            sharpened(frames, past) if sharp else None,
            self.forecaster.explain(past, num_leads) if flow else {},
            chances_of(past, frames, self.forecaster.calibrations, self.thresholds) if probabilities else {},
        )
        span, trained = (self.span["start"], self.span["end"]), self.forecaster.frames_out
        provenance = Provenance(self.sha256, *span, trained, tuple(notes))
        return describe(past, made, provenance)


def load(model: str | Path, machine: MachineConfig | None = None) -> Model:
    """Load a trained model.

    Args:
        model: the path of a checkpoint, or the name of one in the store of runs that this folder or
            `MLFLOW_TRACKING_URI` names: `models:/physicnet@champion`, or `models:/physicnet/3` for a version.
        machine: what to forecast on; None: on all cores of this machine, without a GPU.

    Raises:
        CheckpointError: if there is no such checkpoint, or none of this version.
        HistoryError: if the store has no such model.
    """
    with checkpoint_of(model) as path:
        return Model(path, machine or machine_here("cpu"))


def machine_here(device: str, num_threads: int | None = None) -> MachineConfig:
    """Return the section `machine` for forecasts: on `device`, by so many threads (None: one a core)."""
    threads = num_threads or len(os.sched_getaffinity(0))
    return MachineConfig(device=device, precision="float32", num_threads=threads, cache_mib=0, tile_cells=TILE_CELLS)


@contextmanager
def checkpoint_of(model: str | Path) -> Iterator[Path]:
    """Give the file of a checkpoint; one of the store of runs is there for as long as the block lasts; see `load`."""
    if not str(model).startswith("models:"):
        if not Path(model).exists():
            raise CheckpointError(
                f"{model} does not exist; name another checkpoint (--model), or train one (dvc repro)"
            )
        yield Path(model)
        return
    from physicnet.tracking import registered
    from physicnet.tracking.store import Store

    with TemporaryDirectory() as folder:
        yield registered.fetch_checkpoint(Store(Path.cwd()), str(model), Path(folder))
