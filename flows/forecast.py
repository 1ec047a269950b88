"""Forecasting as a flow: what the champion says of the newest observations, as a file.

A deployment runs it after each collect that accepted files. `python -m flows.forecast` does it once, without a server.
"""

import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import xarray as xr
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.champion import champion_at_hand
from flows.raw_data import paths_of_ingest
from flows.report import picture
from physicnet.clock import format_minute
from physicnet.config import Params, load_params
from physicnet.data.recent import Last, judged, read_stretch
from physicnet.data.sources import find_sources
from physicnet.data.state import State as Known
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

    The state is named Forecast, Known if there is a forecast from that time, or Skipped if there is no champion, or the
    observations do not allow one; its message tells the file, or why.
    """
    params = load_params(Path("params.yaml"))
    checkpoint = champion_at_hand()
    if checkpoint is None:
        return _skipped("there is no champion yet: physicnet promote, or a retrain, names one")
    model = load(checkpoint, params.machine)
    try:
        past = newest(params, model, at)
    except DataError as error:
        return _skipped(str(error))
    folder = params.forecast.folder if at is None else params.forecast.hindcasts
    path = Path(folder) / file_name(past.times[-1])
    if path.is_file():
        return Completed(name="Known", message=f"{path} is there")
    make(model, past, path)
    return Completed(name="Forecast", message=f"{path}, from what was observed until {format_minute(past.times[-1])}")


def file_name(origin: np.datetime64) -> str:
    """Return the name of the forecast from a time: 2010-08-26T050000Z.nc."""
    return f"{np.datetime_as_string(origin, unit='s').replace(':', '')}Z.nc"


@task(cache_policy=NO_CACHE)
def newest(params: Params, model: Model, at: datetime | None) -> Field:
    """Read the frames that a forecast starts from; files that ingest or collect has looked through are not read again.

    Raises:
        DataError: if they are not there, or cannot be used.
    """
    paths = paths_of_ingest()
    sources = find_sources(paths["raw"], params.ingest.pattern)
    verdict = judged(sources, params.ingest, state=Known(paths["resume"].resolve()))
    last = Last(model.kind.frames_in, model.kind.step, None if at is None else at.isoformat())
    return read_stretch(verdict, params.ingest, last)


@task(cache_policy=NO_CACHE)
def make(model: Model, past: Field, path: Path) -> None:
    """Forecast as far as the model was trained, write the file, leave a picture."""
    dataset = model.forecast_field(past, model.forecaster.frames_out)
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


def _skipped(reason: str) -> State:
    get_run_logger().info("skipped: %s", reason)
    return Completed(name="Skipped", message=reason)


if __name__ == "__main__":
    end_cleanly_on_sigterm()
    sys.exit(0 if forecast(return_state=True).is_completed() else 1)
