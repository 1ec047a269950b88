"""Forecasts of pysteps as files that `physicnet verify` scores: an example for whoever forecasts with something else.

    pip install -e '.[baselines]'
    python benchmarks/pysteps_forecast.py data/raw/radar_knmi_20100826.nc compared/pysteps

The last frame is carried along the Lucas-Kanade motion of the frames before it, by pysteps' own functions, and written
by xarray alone. What makes a dataset a forecast are the valid times `time` and one `forecast_reference_time`; variable,
units and grid are those of the observations as `params.yaml` has them read (here: means over 2 x 2 cells).
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr

VARIABLE = "rain_rate"
CELLS = 2  # along rows and columns whose mean is one cell: ingest.coarsen
FRAMES = 4  # that the motion is taken from: clip.frames_in
LEADS = 12  # clip.frames_out
DRY = 0.1  # mm/h, below which there is no rain


def observed(path: Path) -> xr.DataArray:
    """Return rain on the grid that forecasts are verified on."""
    with xr.open_dataset(path) as dataset:
        return dataset[VARIABLE].coarsen(y=CELLS, x=CELLS, boundary="trim").mean(keep_attrs=True).load()


def forecast(rain: xr.DataArray, origin: int, num_leads: int) -> xr.Dataset:
    """Return the frames that follow the frame `origin`, as pysteps extrapolates it, and what a forecast must tell."""
    import pysteps.extrapolation
    import pysteps.motion

    past = np.nan_to_num(rain.values[origin + 1 - FRAMES : origin + 1].astype(np.float64))  # unobserved: no rain
    motion = pysteps.motion.get_method("LK")(10 * np.log10(np.maximum(past, DRY)), verbose=False)
    extrapolate = pysteps.extrapolation.get_method("semilagrangian")
    frames = extrapolate(past[-1], motion, num_leads, map_coordinates_mode="nearest")
    times = rain["time"].values
    return xr.Dataset(
        {VARIABLE: (("time", "y", "x"), np.float32(frames), {"units": rain.attrs["units"]})},
        {
            "time": times[origin] + (times[1] - times[0]) * np.arange(1, num_leads + 1),
            "y": rain["y"],
            "x": rain["x"],
            "forecast_reference_time": ((), times[origin], {"standard_name": "forecast_reference_time"}),
        },
        {"Conventions": "CF-1.11", "title": "Lucas-Kanade extrapolation by pysteps"},
    )


def main(
    observations: Annotated[Path, typer.Argument(exists=True, help="a file of rain")],
    folder: Annotated[Path, typer.Argument(help="of forecasts, a file for each time; written")],
    start: Annotated[datetime, typer.Option(help="first time to forecast from, UTC")] = datetime(2010, 8, 26, 6, 5),
    end: Annotated[datetime, typer.Option(help="last one")] = datetime(2010, 8, 26, 6, 35),
) -> None:
    """Forecast from each frame of a stretch of time."""
    rain = observed(observations)
    folder.mkdir(parents=True, exist_ok=True)
    times = rain["time"].values
    for origin in np.flatnonzero((times >= np.datetime64(start)) & (times <= np.datetime64(end))):
        name = np.datetime_as_string(times[origin], unit="s").replace(":", "")
        forecast(rain, int(origin), LEADS).to_netcdf(folder / f"{name}Z.nc")


if __name__ == "__main__":
    typer.run(main)
