"""The tables and figures of `evaluate` for forecasts in files, ours and other people's, beside the baselines."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from physicnet.clock import from_milliseconds
from physicnet.config import ClipConfig, Params
from physicnet.data import recent
from physicnet.data.recent import Between, judged, read_stretch
from physicnet.evaluation.verify import compare
from physicnet.fields import DataError
from physicnet.forecasting.shelf import is_store
from physicnet.verification.filed import Filed
from physicnet.verification.reference import Reference
from physicnet.verification.scores import on_the_beat


class Verified(NamedTuple):
    """How many forecasts were scored, of how many, and how many of them start within what their model learned from."""

    scored: int
    num: int
    learned: int


def verify(forecasts: Path, observations: Path, results: Path, params: Params, root: Path) -> Verified:
    """Score forecasts against observations, write tables and figures.

    Those are scored from the times that all models forecast from, and at the leads that all have, which the
    observations hold as a whole, frames before and after. All of it is read at once.

    Args:
        forecasts: a folder of forecasts of one model, a Zarr store, a folder of such folders and stores, or a file.
        observations: a file, or a folder of which those files count that `ingest.pattern` matches.
        results: written, and beside it a file of that name with the ending .json, the means over leads.
        params: of the project.
        root: its folder, from whose last training the baselines are.

    Raises:
        DataError: if there is no forecast, none can be scored, or one is not as it must be; see `Filed`.
    """
    refuse_to_replace(results)
    models, reference = found(forecasts), Reference.of(root, params)
    _refuse_names_of_baselines(models, reference)
    shared = sorted(set.intersection(*(set(model.files) for model in models)))
    if not shared:
        raise DataError(
            f"there is no time from which all of {', '.join(model.name for model in models)} forecast; verify them one "
            "by one"
        )
    num_leads = min(entry.num_leads for model in models for entry in model.files.values())
    clip = ClipConfig(frames_in=params.clip.frames_in, frames_out=num_leads)
    verdict = judged(recent.found([observations], params.ingest.pattern), params.ingest)
    step, times = reference.training.record.step, from_milliseconds(verdict.times, verdict.calendar)
    earliest, latest = times[0] + (clip.frames_in - 1) * step, times[-1] - num_leads * step
    origins = [origin for origin in shared if earliest <= origin <= latest]
    if not origins:
        raise DataError(
            f"none of {len(shared)} forecasts can be scored: observations reach from {times[0]} to {times[-1]}, the "
            f"forecasts start from {shared[0]} to {shared[-1]}, and each needs {clip.frames_in} frames before and "
            f"{num_leads} after it; give the observations of that time"
        )
    first, last = origins[0] - (clip.frames_in - 1) * step, origins[-1] + num_leads * step
    record = on_the_beat(read_stretch(verdict, params.ingest, Between(first, last)), first, last, step)
    starts = [int((origin - first) / step) + 1 - clip.frames_in for origin in origins]
    compare(
        [*models, *reference.baselines],
        record,
        starts,
        reference.normalizer,
        params.evaluate,
        clip,
        metrics=results.with_suffix(".json"),
        results=results,
    )
    return Verified(len(origins), len(shared), sum(_is_learned(models, origin) for origin in origins))


def _is_learned(models: Sequence[Filed], origin: np.datetime64) -> bool:
    """Whether one of the models learned from what came after that time."""
    ends = [model.files[origin].learned_until for model in models]
    return any(end and np.datetime64(end) >= origin for end in ends)


def refuse_to_replace(results: Path) -> None:
    """Refuse to write where something is.

    Raises:
        DataError: if the folder exists and holds something.
    """
    if results.exists() and (not results.is_dir() or any(results.iterdir())):
        raise DataError(f"{results} exists, and would be replaced; remove it, or name another folder (--results)")


def found(path: Path) -> list[Filed]:
    """Return the forecasts below a path, by model: of a folder with files in it, called as it is, or of a Zarr store.

    Raises:
        DataError: if there are none, or two models would be called alike.
    """
    if path.is_file() or is_store(path):
        return [Filed.of(path.stem, [path])]
    below = [path, *sorted(each for each in path.iterdir() if each.is_dir())]
    paths = [
        (each.stem, [each]) if is_store(each) else (each.resolve().name, sorted(each.glob("*.nc"))) for each in below
    ]
    models = [Filed.of(name, those) for name, those in paths if those]
    if not models:
        raise DataError(
            f"{path} holds no forecast: no file *.nc, no store *.zarr, nor a folder with such files; name another"
        )
    names = [model.name for model in models]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{path}: two models would be called {', '.join(sorted(twice))}; rename a folder or a store")
    return models


def _refuse_names_of_baselines(models: Sequence[Filed], reference: Reference) -> None:
    for model in models:
        if model.name in {baseline.name for baseline in reference.baselines}:
            raise DataError(f"the folder or store of forecasts {model.name} is called as a baseline is; rename it")
