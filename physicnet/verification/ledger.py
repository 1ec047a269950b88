"""The table of how well forecasts came true, day after day, to which each verification adds.

It holds sums and not scores, a row for each day, model and lead: sums of days add up to those of weeks. Baselines stand
beside the model on the same forecasts. The days are those from which forecasts were made, in UTC. `checkpoint` is the
SHA-256 of the model, which a promotion changes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from physicnet.config import EvaluateConfig
from physicnet.evaluation import pooling
from physicnet.fields import DataError, written_whole

KEY = ["day", "checkpoint", "model", *pooling.LEAD]
SPAN = ["forecasts", "first", "last"]  # how many, from when to when
TEXT = ("checkpoint", "model", "variable", "units")  # also where they look like numbers
WEEK = pd.Timedelta(days=7)


def read(path: Path) -> pd.DataFrame:
    """Return the table; an empty one if there is none yet.

    Raises:
        DataError: if the file is no such table.
    """
    if not path.is_file():
        return pd.DataFrame(columns=[*KEY, *SPAN])
    try:
        table = pd.read_csv(path, parse_dates=["day", "first", "last"], dtype=dict.fromkeys(TEXT, str))
    except ValueError as error:
        raise DataError(f"{path} is no table of verification ({error}); restore it: dvc checkout {path}.dvc") from error
    lacking = [name for name in (*KEY, *SPAN) if name not in table]
    if lacking:
        raise DataError(f"{path} has no column {', '.join(lacking)}; restore it: dvc checkout {path}.dvc")
    return table.astype(dict.fromkeys(_sums(table), np.float64))


def last_origin(table: pd.DataFrame) -> np.datetime64 | None:
    """Return the time of the latest forecast that the table knows."""
    return None if table.empty else np.datetime64(table["last"].max(), "ns")


def by_day(sums: pd.DataFrame, checkpoints: Sequence[str]) -> pd.DataFrame:
    """Add up the sums per forecast origin (see `Scoreboard.sums`), the origins in the order of `checkpoints`."""
    of_origin = dict(zip(sorted(sums["time"].unique()), checkpoints, strict=True))
    time = pd.to_datetime(sums["time"])
    rows = sums.drop(columns=["origin", "time"]).assign(
        day=time.dt.floor("D"), checkpoint=sums["time"].map(of_origin), forecasts=1, first=time, last=time
    )
    return _added_up(rows)


def with_more(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the rows of another, one row for each day, model and lead."""
    return _added_up(pd.concat([table, more], ignore_index=True)) if len(table) else more


def write(path: Path, table: pd.DataFrame) -> None:
    """Write the table, whole or not at all."""
    with written_whole(path) as partial:
        table.to_csv(partial, index=False, float_format="%.9g", lineterminator="\n")


def _added_up(rows: pd.DataFrame) -> pd.DataFrame:
    numbers = [name for name in rows if name not in (*KEY, "first", "last")]
    how = dict.fromkeys(numbers, "sum") | {"first": "min", "last": "max"}
    added = rows.groupby(KEY, sort=False, dropna=False).agg(how).reset_index()
    return added.sort_values(["day", "checkpoint"], kind="stable", ignore_index=True)[[*KEY, *SPAN, *_sums(rows)]]


def _sums(rows: pd.DataFrame) -> list[str]:
    return [str(name) for name in rows if name not in (*KEY, *SPAN)]


def weekly(table: pd.DataFrame, weeks: int, config: EvaluateConfig) -> pd.DataFrame:
    """Return the scores of the last weeks, a row per week, model, variable and lead, the newest week first.

    `week` is its Monday, `forecasts` how many were scored in it. The intervals of the skill draw days. A baseline that
    was not scored on all days of a week, for it was added meanwhile, is left out of it. An empty table comes back as it
    is.
    """
    if table.empty:
        return table
    monday = table["day"] - pd.to_timedelta(table["day"].dt.day_of_week, unit="D")
    scored = []
    for week in sorted(monday.unique(), reverse=True):
        if week <= monday.max() - weeks * WEEK:
            break
        rows = table[monday == week]
        origin = (rows["day"] - rows["day"].min()).dt.days
        sums = rows.drop(columns=["day", "checkpoint", *SPAN]).assign(origin=origin, time=rows["day"])
        daily = sums.groupby(["model", "origin", "time", *pooling.LEAD], sort=False).sum().reset_index()
        daily = _on_all_days(daily)
        most = rows[rows["model"] == pooling.REFERENCE].groupby(pooling.LEAD)["forecasts"].sum().max()
        scored.append(pooling.pooled(daily, config, block=1).assign(week=week, forecasts=most))
    return pd.concat(scored, ignore_index=True)


def _on_all_days(daily: pd.DataFrame) -> pd.DataFrame:
    """Leave out the models that have not as many rows as persistence."""
    rows = daily.groupby("model")["origin"].size()
    return daily[daily["model"].isin(rows[rows == rows[pooling.REFERENCE]].index)]
