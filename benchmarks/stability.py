"""What becomes of a forecast beyond the leads that training knew?

    python benchmarks/stability.py                       # models/model.safetensors
    python benchmarks/stability.py --checkpoint FILE     # another, such as one trained on a short horizon

Forecasts from the validation part of the record that `dvc repro` has ingested, to four times the trained horizon, in
two ways: in one go, as the model does, and piece by piece, where the forecast of a whole horizon becomes the past of
the next. Mean and standard deviation over the cells that were observed last, the share of cells that had to be held
back, and, as far as the validation part has a truth, the RMSE beside that of persistence. No frame of the test part is
read. Writes docs/results/stability.csv and docs/figures/stability.png.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from physicnet.config import load_params
from physicnet.drawing import drawing_style, save
from physicnet.evaluation.figures import COLOURS
from physicnet.fields import Field, written_whole
from physicnet.model.rollout import ModelForecaster

DATA = Path("data")
TIMES = 4  # the trained horizon
ONE_GO, PIECES, PERSISTENCE, TRUTH = "in one go", "piece by piece", "persistence", "truth"
SCORES = {"mean": "mean", "std": "standard deviation", "saturation": "share of cells held back", "rmse": "RMSE"}
LINES = {ONE_GO: "physicnet", PIECES: "advection", PERSISTENCE: "persistence", TRUTH: "truth"}


def in_one_go(model: ModelForecaster, past: Field) -> tuple[np.ndarray, np.ndarray]:
    """Return the forecast (k c h w) and its saturation (k c)."""
    frames = model.forecast(past, TIMES * model.frames_out)
    return frames, model.take_saturation()


def piece_by_piece(model: ModelForecaster, past: Field) -> tuple[np.ndarray, np.ndarray]:
    """Return the same, where each horizon's forecast is observed by the next."""
    frames, shares = [], []
    for _ in range(TIMES):
        frames.append(model.forecast(past, model.frames_out))
        shares.append(model.take_saturation())
        past = followed(past, frames[-1])
    return np.concatenate(frames), np.concatenate(shares)


def followed(past: Field, frames: Float[np.ndarray, "k c h w"]) -> Field:
    """Return the past with frames after it, as if they had been observed."""
    times = past.times_after(len(frames))
    later = past.dataset.isel({past.time_dim: [-1] * len(frames)}).assign_coords({past.time_dim: times})
    values = {name: later[name].copy(data=frames[:, channel]) for channel, name in enumerate(past.variables)}
    one_grid = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "override"}
    return Field(xr.concat((past.dataset, later.assign(values)), past.time_dim, **one_grid))


def describe(
    frames: Float[np.ndarray, "k h w"], truth: Float[np.ndarray, "n h w"], seen: Bool[np.ndarray, "h w"]
) -> Iterator[dict[str, float]]:
    """Give mean, deviation and, where there is a truth, the mean squared error of every lead."""
    for lead, frame in enumerate(frames):
        row = {"lead": lead + 1.0, "mean": np.nanmean(frame[seen]), "std": np.nanstd(frame[seen])}
        if lead < len(truth):
            row["squared_error"] = np.nanmean((frame - truth[lead])[seen] ** 2)
        yield row


def measure(model: ModelForecaster, record: Field, first: int, last: int) -> pd.DataFrame:
    """Return a row per rollout, variable and lead, for the forecast from the frames `first` on."""
    past = Field(record.isel(first, first + model.frames_in).dataset.compute())
    leads = TIMES * model.frames_out
    truth = record.frames(first + model.frames_in, min(first + model.frames_in + leads, last))
    now = past.frames(model.frames_in - 1, model.frames_in)
    forecasts = {ONE_GO: in_one_go(model, past), PIECES: piece_by_piece(model, past)}
    rows = []
    for channel, variable in enumerate(record.variables):
        seen = np.isfinite(now[0, channel])
        shown = {name: frames[:, channel] for name, (frames, _) in forecasts.items()}
        shown |= {PERSISTENCE: np.broadcast_to(now[0, channel], shown[ONE_GO].shape), TRUTH: truth[:, channel]}
        for name, frames in shown.items():
            table = pd.DataFrame(describe(frames, truth[:, channel], seen))
            if name in forecasts:
                table["saturation"] = forecasts[name][1][:, channel]
            rows.append(table.assign(rollout=name, variable=variable, origin=first + model.frames_in - 1))
    return pd.concat(rows, ignore_index=True)


def draw(table: pd.DataFrame, horizon: int, units: str) -> Figure:
    """Draw every score over the lead; a line marks the trained horizon."""
    with drawing_style():
        figure = Figure(figsize=(9.0, 5.5), layout="constrained")
        for axes, (score, title) in zip(figure.subplots(2, 2).flat, SCORES.items(), strict=True):
            for name, colour in LINES.items():
                if score == "rmse" and name == TRUTH:
                    continue
                rows = table[table["rollout"] == name]
                axes.plot(rows["lead_minutes"], rows[score], color=COLOURS[colour], label=name)
            axes.axvline(horizon, color="#bbbbbb", linestyle=":")
            axes.set(title=title if score == "saturation" else f"{title} ({units})", xlabel="lead (minutes)")
        figure.axes[0].legend()
    return figure


def main() -> None:
    """Forecast, print a few leads, write all of them and draw them."""
    parser = argparse.ArgumentParser(description="What becomes of a forecast beyond the leads that training knew?")
    parser.add_argument("--checkpoint", type=Path, default=Path("models/model.safetensors"))
    parser.add_argument("--origins", type=int, default=2, help="of the validation part, from its first on")
    parser.add_argument("--results", type=Path, default=Path("docs/results/stability.csv"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/stability.png"))
    given = parser.parse_args()
    params = load_params(Path("params.yaml"))
    model = ModelForecaster.load(given.checkpoint, params.machine)
    torch.set_num_threads(params.machine.num_threads)
    first, last = json.loads((DATA / "statistics.json").read_text(encoding="utf-8"))["splits"]["validation"][0]
    record = Field.open(DATA / "fields.zarr").isel(0, last)
    table = pd.concat([measure(model, record, first + index, last) for index in range(given.origins)])
    table = table.drop(columns="origin").groupby(["variable", "rollout", "lead"], sort=False).mean().reset_index()
    minutes = float(record.step / np.timedelta64(1, "m"))
    table = table.assign(rmse=np.sqrt(table.pop("squared_error")), lead_minutes=minutes * table["lead"])
    show(table, model.frames_out)
    with written_whole(given.results) as partial:
        table.to_csv(partial, index=False, float_format="%.4g", lineterminator="\n")
    variable = record.variables[0]
    save(draw(table[table["variable"] == variable], minutes * model.frames_out, record.units[variable]), given.figure)


def show(table: pd.DataFrame, horizon: int) -> None:
    """Print the scores at the horizon and its multiples."""
    shown = [horizon * times for times in range(1, TIMES + 1)]
    for (variable, name), rows in table.groupby(["variable", "rollout"], sort=False):
        printed = Table("", *(f"lead {lead}" for lead in shown), title=f"{variable}, {name}")
        for score in SCORES:
            values = rows.set_index("lead")[score].reindex(shown)
            printed.add_row(score, *(f"{value:.4g}" for value in values))
        Console().print(printed)


if __name__ == "__main__":
    main()
