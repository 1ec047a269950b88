"""A checkpoint as a model of MLflow's: observed frames in, forecast frames out, both as the arrays of a dataset.

MLflow finds this module by its name in the installed package, so no model holds code or a pickle. A request and its
answer have one form, that of an `xarray.Dataset` without attributes:

| array | shape | type | what |
|---|---|---|---|
| time | t | text | ISO 8601, in UTC unless an offset is written |
| each axis, such as y and x | h; w | float64 | the coordinate, in the units of the training data |
| each variable | t h w | float32 | in the units of the training data; NaN where missing, null in JSON |

Axes are named as in the training data, and rows and columns run as there. An axis that had no coordinate of one
dimension there has none here.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float32, Shaped

from physicnet.clock import GREGORIAN, calendar_of, parse_time, to_milliseconds, written
from physicnet.config import MachineConfig
from physicnet.data.spacing import Spacing
from physicnet.digest import content_hash
from physicnet.fields import DataError, Field
from physicnet.forecasting.kind import Kind
from physicnet.model.rollout import ModelForecaster
from physicnet.model.sharp import Sharp
from physicnet.tracking import registered
from physicnet.tracking.registered import CHALLENGER, SHA256, Answering
from physicnet.tracking.store import Store

# What this module imports, directly or not, and MLflow.
REQUIRED = (
    "cf-units",
    "cftime",
    "einops",
    "filelock",
    "jaxtyping",
    "mlflow",
    "numpy",
    "physicnet",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "torch",
    "xarray",
    "zarr",
)
OUTPUTS = ("mean", "sharp")
EXAMPLE = 64  # cells
FARTHEST = 10  # times as many leads as in training; what one request may take is bounded

Arrays = dict[str, np.ndarray]


def log(store: Store, run_id: str, checkpoint: Path, record: Field, machine: MachineConfig) -> str:
    """Log a checkpoint to a run as a model that MLflow can serve, and return the model's URI.

    Args:
        store: where the run is.
        run_id: the run.
        checkpoint: a checkpoint of joint training.
        record: physical observations, whose last frames become the example and whose units are the model's.
        machine: what forecasts run on, wherever the model is loaded.

    Raises:
        DataError: if the model cannot forecast from the example.
        CheckpointError: if the checkpoint is none, or does not tell time step and grid.
    """
    served = Served(checkpoint, machine, record.units)
    example = served.example(record)
    return registered.log_model(
        store,
        run_id,
        checkpoint,
        loader=__name__,
        config={"machine": machine.model_dump(mode="json"), "units": record.units},
        example=example,
        params=served.params,
        answer=served.predict(example, served.params),
        requirements=requirements(),
    )


def offer(
    store: Store, run_id: str, checkpoint: Path, record: Field, machine: MachineConfig, *, is_challenger: bool
) -> bool:
    """Log a checkpoint to a run (see `log`) and register it, once; say whether any of it was lacking.

    It becomes the challenger if `is_challenger`, and if the registered model has none.
    """
    known = registered.version_of(store, run_id)
    if known is None:
        log(store, run_id, checkpoint, record, machine)
    version, holder = known or registered.register(store, run_id), registered.holder(store, CHALLENGER)
    is_tagged = registered.tag_version(store, version, {SHA256: content_hash(checkpoint)})
    is_named = holder != version and (is_challenger or holder is None)
    if is_named:
        registered.name_version(store, CHALLENGER, version)
    return known is None or is_tagged or is_named


def requirements() -> list[str]:
    """Return what a model needs, in the versions installed here, as pip takes it.

    A build's name (2.13.0+cpu) is left out: package indexes do not have it, and pip takes any build of the version.
    """
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIRED]


def _load_pyfunc(path: str, config: Mapping[str, Any]) -> Answering:
    """Return the model of a checkpoint; MLflow calls this, with the configuration that the model was logged with."""
    return Answering(Served(Path(path), MachineConfig.model_validate(config["machine"]), config["units"]))


class Served:
    """A model that takes and gives arrays; see the table of the module. It forecasts one request at a time.

    Raises:
        CheckpointError: if the checkpoint is none, or does not tell time step and grid.
    """

    def __init__(self, checkpoint: Path, machine: MachineConfig, units: Mapping[str, str]) -> None:
        self.forecaster = ModelForecaster.load(checkpoint, machine)
        self.units = units
        self.kind = Kind.of(checkpoint)
        self._turn = Lock()

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of a request, as they are where it names none."""
        return {"num_leads": self.forecaster.frames_out, "output": OUTPUTS[0]}

    def predict(self, arrays: Arrays, params: Mapping[str, Any]) -> Arrays:
        """Forecast the `num_leads` frames after the last one.

        `output` is "mean", the forecast that is best on average, or "sharp", the same with the values of the last
        frame. Only as many frames count as the model takes, the last ones.

        Raises:
            DataError: if the parameters or arrays are not what they must be, with the remedy; and see
                `ModelForecaster.forecast` and `Sharp.forecast`.
        """
        num_leads, output = params["num_leads"], params["output"]
        most = FARTHEST * self.forecaster.frames_out
        if num_leads is None or not 1 <= num_leads <= most:
            raise DataError(f"num_leads is {num_leads}; ask for 1 lead at least, and {most} at most")
        if output not in OUTPUTS:
            raise DataError(f"output is {output!r}; ask for one of {OUTPUTS}")
        past = self._read(arrays)
        with self._turn:
            forecaster = Sharp(self.forecaster) if output == "sharp" else self.forecaster
            frames = forecaster.forecast(past, num_leads)
            self.forecaster.take_saturation()  # it would gather for ever
        return self._arrays(past, past.times_after(num_leads), frames)

    def example(self, record: Field) -> Arrays:
        """Return the last frames of a record as a request: of large ones the block that was observed best.

        Raises:
            DataError: if the record's variables or axes have other names than those of the training data, or its times
                are of a calendar that requests cannot tell.
        """
        if (record.variables, record.spatial_dims) != (self._variables, self._dims[1:]):
            raise DataError(
                f"the record holds {record.variables} along {record.spatial_dims}, the model takes {self._variables} "
                f"along {self._dims[1:]}; give it observations of that kind, under these names"
            )
        if calendar_of(record.times) != GREGORIAN:
            raise DataError(
                f"the record's times are of the calendar {calendar_of(record.times)}; only models of the Gregorian "
                "calendar can be served, so forecast with `ModelForecaster`"
            )
        past = record.isel(max(0, record.shape[0] - self.forecaster.frames_in), record.shape[0])
        rows, columns = _best_observed(past)
        window = dict(zip(past.spatial_dims, (rows, columns), strict=True))
        past = Field(past.dataset.isel(window))
        return self._arrays(past, past.times, past.frames(0, past.shape[0]))

    @property
    def _variables(self) -> tuple[str, ...]:
        return self.forecaster.normalizer.variables

    @property
    def _dims(self) -> tuple[str, str, str]:
        rows, columns = self.kind.grid
        return "time", rows.axis, columns.axis

    @property
    def _axes(self) -> list[Spacing]:
        """The axes that have a coordinate."""
        return [axis for axis in self.kind.grid if axis.distance is not None]

    def _arrays(self, field: Field, times: Shaped[np.ndarray, "t"], frames: Float32[np.ndarray, "t c h w"]) -> Arrays:
        arrays = {"time": written(to_milliseconds(times), GREGORIAN).astype(str)}
        arrays |= {axis.axis: field.dataset[axis.axis].values.astype(np.float64) for axis in self._axes}
        return arrays | dict(zip(field.variables, np.moveaxis(frames, 1, 0), strict=True))

    def _read(self, arrays: Arrays) -> Field:
        """Return the frames of a request that count, after checking that they are as in training."""
        values = {name: (self._dims, arrays[name], {"units": self.units[name]}) for name in self._variables}
        axes = {axis.axis: (axis.axis, arrays[axis.axis], {"units": axis.units}) for axis in self._axes}
        time = _times(arrays["time"])
        try:
            dataset = xr.Dataset(values, {"time": time} | axes)
        except ValueError as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise DataError(
                f"the arrays do not fit together, {shapes}: each variable must have the shape {self._dims}"
            ) from error
        frames_in = self.forecaster.frames_in
        past = Field(dataset.isel(time=slice(-frames_in, None)))
        if past.shape[0] < frames_in:
            raise DataError(f"the model needs {frames_in} frames, only {past.shape[0]} are there; give it more")
        self.kind.check_clock(past)
        self.kind.check_grid(past)
        return past


def _best_observed(past: Field) -> tuple[slice, slice]:
    """Return the rows and columns of the block of at most `EXAMPLE` cells a side that the last frame knows best."""
    last = past.frames(past.shape[0] - 1, past.shape[0])[0]
    known = np.isfinite(last).all(axis=0)
    height, width = known.shape
    blocks = [
        (slice(row, row + EXAMPLE), slice(column, column + EXAMPLE))
        for row in range(0, max(1, height - EXAMPLE + 1), EXAMPLE // 2)
        for column in range(0, max(1, width - EXAMPLE + 1), EXAMPLE // 2)
    ]
    return max(blocks, key=lambda block: int(known[block].sum()))


def _times(texts: Shaped[np.ndarray, "t"]) -> Shaped[np.ndarray, "t"]:
    try:
        told = [parse_time(text, GREGORIAN) for text in texts.tolist()]
    except ValueError as error:
        raise DataError(f"time holds what is no time ({error}); write UTC as 2010-08-26T00:05:00") from error
    return np.array(told, "datetime64[ms]")
