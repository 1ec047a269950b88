"""Forecasting as a flow: what the champion says of the newest observations, as a file.

A deployment runs it after each collect that accepted files. `python -m flows.forecast` does it once, without a server.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.champion import champion_at_hand
from flows.observations import archive, last_known
from flows.raw_data import paths_of_ingest
from flows.report import picture
from flows.states import skipped
from physicnet.clock import format_minute
from physicnet.config import Params, load_params
from physicnet.data.judge import Verdict
from physicnet.data.recent import Last, read_stretch
from physicnet.evaluation import labels
from physicnet.evaluation.figures import outlook_figure
from physicnet.evaluation.gallery import chart_of
from physicnet.fields import DataError, Field
from physicnet.forecasting import cf
from physicnet.forecasting.loading import Model, load
from physicnet.process import end_cleanly_on_sigterm

SHOWN = 4  # leads in the picture
MINUTE = np.timedelta64(1, "m")


@flow(name="forecast")
def forecast(at: datetime | None = None) -> State:
    """Forecast from the newest observations, or from those of an earlier time: then it is a hindcast.

    The state is named Forecast, Known if there is a forecast from that time, or Skipped if there is no champion, or a
    frame that it starts from is not there; its message tells the file, or why.

    Raises:
        DataError: if files cannot be used, or are not what the champion was trained on.
    """
    params = load_params(Path("params.yaml"))
    checkpoint = champion_at_hand()
    if checkpoint is None:
        return skipped("there is no champion yet: physicnet promote, or a retrain, names one")
    model = load(checkpoint, params.machine)
    refuse_other_rules(params, model)
    verdict = look_through(params, model, at)
    try:
        past = latest(params, model, verdict, at)
    except DataError as error:
        return skipped(str(error))
    folder = params.forecast.folder if at is None else params.forecast.hindcasts
    path = Path(folder) / cf.file_name(past.times[-1])
    if path.is_file():
        return Completed(name="Known", message=f"{path} is there")
    make(model, past, path)
    return Completed(name="Forecast", message=f"{path}, from what was observed until {format_minute(past.times[-1])}")


def refuse_other_rules(params: Params, model: Model) -> None:
    """Refuse to read observations by other rules than those of the champion's training.

    Raises:
        DataError: naming the rules that differ.
    """
    ours, theirs = params.ingest.rules(), model.rules
    differing = [name for name in ours if ours[name] != theirs.get(name)]
    if differing:
        told = "; ".join(f"ingest.{name}: {theirs.get(name)} there, {ours[name]} here" for name in differing)
        raise DataError(
            f"the champion was trained on observations that were read by other rules ({told}); set them back in "
            "params.yaml, or retrain and promote a model of the new ones"
        )


@task(cache_policy=NO_CACHE)
def look_through(params: Params, model: Model, at: datetime | None) -> Verdict:
    """Look through the files that may hold the frames that a forecast starts from; errors as of `archive`."""
    known = last_known(paths_of_ingest()["catalogue"] / "files.csv")
    first = known if at is None else np.datetime64(at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at, "ns")
    return archive(params, None if first is None else first - model.kind.frames_in * model.kind.step)


@task(cache_policy=NO_CACHE)
def latest(params: Params, model: Model, verdict: Verdict, at: datetime | None) -> Field:
    """Read the frames that a forecast starts from.

    Raises:
        DataError: if one is not there, or nothing was observed in the last.
    """
    last = Last(model.kind.frames_in, model.kind.step, None if at is None else at.isoformat())
    past = read_stretch(verdict, params.ingest, last)
    if not np.isfinite(past.frames(past.shape[0] - 1, past.shape[0])).any():
        raise DataError(f"nothing was observed at {format_minute(past.times[-1])}, the time of the newest frame")
    return past


@task(cache_policy=NO_CACHE)
def make(model: Model, past: Field, path: Path) -> None:
    """Forecast as far as the model was trained, write the file, leave a picture."""
    if not model.thresholds:
        get_run_logger().warning("the champion was trained before models learned probabilities: none are forecast")
    dataset = model.forecast_field(past, model.forecaster.frames_out, probabilities=bool(model.thresholds))
    cf.write(path, dataset)
    create_markdown_artifact(
        page(model, past, dataset), key="forecast", description="The latest forecast of the champion"
    )


def page(model: Model, past: Field, dataset: xr.Dataset) -> str:
    """The last observed frame and the forecast at some leads, for each variable."""
    now, lines = format_minute(past.times[-1]), []
    leads = labels.spread(dataset.sizes["time"], SHOWN)
    for channel, name in enumerate(past.variables):
        last, frames = past.frames(past.shape[0] - 1, past.shape[0])[0, channel], dataset[name].values
        chart = chart_of(past, channel, np.concatenate([last[None], frames]), model.forecaster.normalizer)
        titles = {"+" + labels.lead(float(lead * past.step / MINUTE)): frames[lead - 1] for lead in leads}
        lines += [
            f"{name} from {now}",
            "",
            picture(outlook_figure(last, titles, now=now, chart=chart), f"Forecast of {name}"),
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    end_cleanly_on_sigterm()
    sys.exit(0 if forecast(return_state=True).is_completed() else 1)
