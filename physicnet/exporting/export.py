"""A trained model as a file that forecasts without physicnet, checked on real observations before it is kept."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from physicnet.data.spacing import mapping_of, place_of, spacing_of
from physicnet.exporting.formats import writer_for
from physicnet.exporting.measuring import Frames, Measured, ProgramError, measure_model, measure_program
from physicnet.exporting.program import Inputs, inputs_of, trace
from physicnet.fields import DataError, Field, written_whole
from physicnet.forecasting.leads import num_steps
from physicnet.forecasting.loading import Model, checkpoint_of, machine_here
from physicnet.forecasting.observations import Observations, Reader

TOLERANCE = 1e-4  # of the range of a variable's observations: how far a program's forecast may be from the model's


class ExportError(ValueError):
    """A program does not do what the model does; the message tells the remedy."""


@dataclass(frozen=True, eq=False)
class Compared:
    """The model, and the programs made of it, on the same frames by as many threads."""

    model: Measured
    programs: dict[Path, Measured]
    differences: dict[Path, float]  # the greatest, as shares of the range of the variable's observations


def export(
    model: str | Path,
    observations: Observations,
    outputs: Sequence[Path],
    *,
    lead: str | int | np.timedelta64 | None = None,
    threads: Sequence[int] = (1,),
) -> list[Compared]:
    """Write a trained model as programs that forecast from frames of the size of the observations.

    Args:
        model: a checkpoint, or the name of one in the store of runs; see `load`.
        observations: what the programs are traced and checked with; see `Model.forecast`.
        outputs: the files, .pt2 or .onnx; none is written unless the forecasts of all are the model's.
        lead: how far the programs forecast; see `Model.forecast`.
        threads: numbers of threads to check and measure with.

    Raises:
        CheckpointError: if there is no such checkpoint, or none of this version.
        DataError: if the observations are not what the model needs, or too large or too even for this; or if an output
            is of no format that can be written here.
        ExportError: if a program does not run, or its forecast differs from the model's by more than `TOLERANCE`.
    """
    writers = {output: writer_for(output) for output in outputs}
    with checkpoint_of(model) as checkpoint, TemporaryDirectory() as folder:
        loaded = Model(checkpoint, machine_here("cpu"))
        past, _ = Reader(loaded.rules, loaded.kind).read(observations, None, regrid=False)
        leads = loaded.forecaster.frames_out if lead is None else num_steps(lead, loaded.kind.step)
        _check(loaded, past)
        inputs = inputs_of(loaded.forecaster, past, leads)
        metadata = json.dumps(describe(loaded, past, inputs, leads))
        traced = trace(loaded.forecaster, inputs, leads)
        made = {output: Path(folder) / f"{index}{output.suffix}" for index, output in enumerate(writers)}
        for output, path in made.items():
            writers[output](traced, inputs, metadata, path)
        compared = [_compare(checkpoint, made, past, inputs, threads=number, num_leads=leads) for number in threads]
        for output, path in made.items():
            with written_whole(output) as partial:
                shutil.copyfile(path, partial)
    return compared


def _compare(
    checkpoint: Path, made: Mapping[Path, Path], past: Field, inputs: Inputs, *, threads: int, num_leads: int
) -> Compared:
    """Forecast with the model and with each program, in a process of its own; errors as of `export`."""
    model = measure_model(checkpoint, past, num_leads, threads)
    programs, differences = {}, {}
    for output, path in made.items():
        try:
            programs[output] = measure_program(path, inputs, threads)
        except ProgramError as error:
            raise ExportError(f"{output} was not written, for it does not run without physicnet: {error}") from None
        differences[output] = _difference(output, model.frames, programs[output].frames, past)
    return Compared(model, programs, differences)


def _difference(output: Path, expected: Frames, frames: Frames, past: Field) -> float:
    """Return the greatest difference, after checking that it is within `TOLERANCE`."""
    shares = np.abs(frames - expected) / _ranges(past)
    lead, channel, *_ = np.unravel_index(np.argmax(shares), shares.shape)  # of the first NaN, if there is one
    if not shares.max() <= TOLERANCE:
        raise ExportError(
            f"{output} was not written, for its forecast of {past.variables[channel]} differs from the model's at "
            f"lead {lead + 1} by {shares.max():.2g} of the range of the observations, more than {TOLERANCE:g}; "
            "forecast with the checkpoint itself (physicnet forecast), or try another version of torch than "
            f"{torch.__version__}"
        )
    return float(shares.max())


def describe(model: Model, past: Field, inputs: Inputs, num_leads: int) -> dict[str, Any]:
    """Return what a user of a program has to know, as its file tells it; docs/data-formats.md has the meaning."""
    forecaster = model.forecaster
    axes = zip(past.spatial_dims, past.shape[2:], spacing_of(past), place_of(past), strict=True)
    return {
        "physicnet": version("physicnet"),
        "torch": torch.__version__,
        "model_sha256": model.sha256,
        "training": model.span,
        "inputs": {name: array.shape for name, array in inputs.items()},
        "output": (num_leads, *past.shape[1:]),
        "variables": past.variables,
        "units": past.units,
        "missing": "NaN",
        "frames_in": forecaster.frames_in,
        "leads": num_leads,
        "trained_leads": forecaster.frames_out,
        "step_seconds": model.kind.step / np.timedelta64(1, "s"),
        "grid": [asdict(spacing) | {"axis": name, "size": size, "ends": ends} for name, size, spacing, ends in axes],
        "grid_mapping": mapping_of(past),
        "ingest": model.rules,
        "normalizer": forecaster.normalizer.to_dict(),
        "tolerance": TOLERANCE,
    }


def _check(model: Model, past: Field) -> None:
    """Check that the observations can be forecast from, in one piece, and tell two forecasts apart."""
    cells, most = past.shape[2] * past.shape[3], model.forecaster.tile_cells
    if cells > most:
        raise DataError(
            f"a frame of {past.shape[2]} x {past.shape[3]} cells is forecast in tiles of at most {most} cells, which a "
            "program for one size of frame cannot do: give observations of a smaller area, or forecast with the "
            "checkpoint (physicnet forecast)"
        )
    model.forecast_field(past, 1, probabilities=False)
    even = [name for name, extent in zip(past.variables, _ranges(past).flat, strict=True) if not extent > 0]
    if even:
        raise DataError(
            f"{', '.join(even)} has no two values that differ in these observations, so that they show nothing of a "
            "program: give others"
        )


def _ranges(past: Field) -> Float32[np.ndarray, "c 1 1"]:
    """The greatest value of each variable less the least, over all that was observed."""
    values = past.frames(0, past.shape[0])
    seen, infinity = np.isfinite(values), np.float32(np.inf)
    highest = values.max(axis=(0, 2, 3), keepdims=True, where=seen, initial=-infinity)
    return (highest - values.min(axis=(0, 2, 3), keepdims=True, where=seen, initial=infinity))[0]
