"""Forecasting as a flow: what the champion says of the newest observations, as a file.

A deployment runs it after each collect that accepted files. `python -m flows.forecast` does it once, without a server.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
from physicnet.forecasting.loading import load
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.champion import champion_at_hand
from physicnet.clock import format_minute
from physicnet.config import load_params
from physicnet.fields import DataError

SHOWN = 4  # leads in the picture


@flow(name="forecast")
def forecast(at: datetime | None = None) -> State:
    """Forecast from the newest observations, or from those of an earlier time.

    The state is named Forecast, Known if there is a forecast from that time, or Skipped if there is no champion, or the
    observations do not allow one; its message tells the file, or why.
    """
    params = load_params(Path("params.yaml"))
    checkpoint = champion_at_hand()
    if checkpoint is None:
        return _skipped("there is no champion yet: physicnet promote, or a retrain, names one")
    model = load(checkpoint)
    try:
        past = newest(params, model, at)
    except DataError as error:
        return _skipped(str(error))
    path = Path(params.forecast.folder) / f"{np.datetime_as_string(past.times[-1], unit='s').replace(':', '')}Z.nc"
    if path.is_file():
        return Completed(name="Known", message=f"{path} is there")
    make(model, past, path)
    return Completed(name="Forecast", message=f"{path}, from what was observed until {format_minute(past.times[-1])}")


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


def _skipped(reason: str) -> State:
    get_run_logger().info("skipped: %s", reason)
    return Completed(name="Skipped", message=reason)


if __name__ == "__main__":
    end_cleanly_on_sigterm()
    sys.exit(0 if forecast(return_state=True).is_completed() else 1)
