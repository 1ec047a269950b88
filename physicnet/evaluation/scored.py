"""The test of a run: sums per forecast origin, and whether two runs were tested on the same data.

That is read from the tables themselves, not from what the runs say of themselves.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from physicnet.evaluation import labels, pooling
from physicnet.fields import DataError

PLACE = ("model", "origin", "time", *pooling.LEAD)
NEEDED = (*PLACE, "cells", "error", "absolute_error", "squared_error")
WRITTEN = 2e-5  # relative: the tables have six digits, which two machines may round apart
CASE = ["variable", "time", "lead"]


@dataclass(frozen=True)
class ScoredRun:
    """A run with its test: `label` is its letter, `name` what to call it, `about` what else tells it from others."""

    label: str
    name: str
    about: str
    settings: Mapping[str, str]
    origins: pd.DataFrame

    @property
    def model(self) -> str:
        """The name of the model, with which the table begins."""
        return str(self.origins["model"].iloc[0])

    @property
    def truth(self) -> pd.DataFrame:
        """The rows of persistence, which depend on the test data alone, ordered by `CASE`."""
        rows = self.origins[self.origins["model"] == pooling.REFERENCE]
        return rows.sort_values(CASE, ignore_index=True)

    @property
    def thresholds(self) -> dict[str, list[str]]:
        """The thresholds of events of each variable."""
        return {
            str(variable): [name.removeprefix("hits_") for name in labels.defined(rows, "hits_")]
            for variable, rows in self.origins.groupby("variable", sort=False)
        }


def read_origins(text: str, where: str) -> pd.DataFrame:
    """Read the table of sums per forecast origin that `evaluate` wrote.

    Raises:
        DataError: if it is not such a table.
    """
    try:
        table = pd.read_csv(io.StringIO(text))
        table = table.astype({name: np.float64 for name in table if name not in PLACE})
    except ValueError as error:
        raise DataError(f"{where} is not a table: {str(error).strip()}; evaluate again") from error
    missing = [name for name in NEEDED if name not in table]
    if missing or pooling.REFERENCE not in set(table["model"]):
        what = f"columns {', '.join(missing)}" if missing else f"rows of {pooling.REFERENCE}"
        raise DataError(f"{where} has no {what}; evaluate again")
    return table


def refuse_unlike(one: ScoredRun, other: ScoredRun) -> None:
    """Refuse two runs that were not tested on the same data.

    Raises:
        DataError: which names the first difference.
    """
    checks: tuple[Callable[[ScoredRun, ScoredRun], str | None], ...] = (
        _variables,
        _events,
        _leads,
        _times,
        _cells,
        _truth,
    )
    found = next((found for check in checks if (found := check(one, other))), None)
    if found:
        raise DataError(
            f"{one.name} and {other.name} cannot be compared, for their test data differ: {found}. Evaluate both "
            "models on the same record, with the same ingest, clip, normalize, crops.stride and evaluate.thresholds"
        )


def what_was_tested(run: ScoredRun) -> str:
    """Say on which variables, from which origins and at which leads a run was tested."""
    return f"{_listed(_units(run))} from {_span(_moments(run))}, at {_lead_span(run)}"


def _unlike(one: ScoredRun, other: ScoredRun, kind: str, values: tuple[str, str]) -> str:
    return f"{one.name} was tested {kind} {values[0]}, {other.name} {kind} {values[1]}"


def _variables(one: ScoredRun, other: ScoredRun) -> str | None:
    units = _units(one), _units(other)
    return None if units[0] == units[1] else _unlike(one, other, "on", (_listed(units[0]), _listed(units[1])))


def _events(one: ScoredRun, other: ScoredRun) -> str | None:
    for variable, thresholds in one.thresholds.items():
        if thresholds != other.thresholds[variable]:
            named = [", ".join(each) or "none" for each in (thresholds, other.thresholds[variable])]
            return _unlike(one, other, f"for events of {variable} above", (named[0], named[1]))
    return None


def _leads(one: ScoredRun, other: ScoredRun) -> str | None:
    leads = [run.truth["lead_minutes"].drop_duplicates().to_numpy() for run in (one, other)]
    same = np.array_equal(leads[0], leads[1])
    return None if same else _unlike(one, other, "at", (_lead_span(one), _lead_span(other)))


def _times(one: ScoredRun, other: ScoredRun) -> str | None:
    times = _moments(one), _moments(other)
    only = min(set(times[0]) ^ set(times[1]), default=None)
    if only is None:
        return None
    alone = one.name if only in times[0] else other.name
    return _unlike(one, other, "from", (_span(times[0]), _span(times[1]))) + f"; only {alone} has {only}"


def _cells(one: ScoredRun, other: ScoredRun) -> str | None:
    return _first_unlike(one, other, "cells", "{0} scored {2:.0f} cells of {4}, {1} {3:.0f}", within=0.0)


def _truth(one: ScoredRun, other: ScoredRun) -> str | None:
    text = "the squared error of persistence for {4} is {2:.6g} in {0} and {3:.6g} in {1}, so what was observed differs"
    return _first_unlike(one, other, "squared_error", text, within=WRITTEN)


def _first_unlike(one: ScoredRun, other: ScoredRun, column: str, text: str, *, within: float) -> str | None:
    """Fill in the first case whose values differ: both names, both values, the case."""
    values = one.truth[column].to_numpy(), other.truth[column].to_numpy()
    unlike = ~np.isclose(values[0], values[1], rtol=within, atol=0)
    if not unlike.any():
        return None
    index = int(unlike.argmax())
    row = one.truth.iloc[index]
    case = f"{row['variable']} {labels.lead(float(row['lead_minutes']))} after {str(row['time']).removesuffix(':00')}"
    return text.format(one.name, other.name, values[0][index], values[1][index], case)


def _units(run: ScoredRun) -> dict[str, str]:
    return dict(sorted(set(zip(run.truth["variable"], run.truth["units"], strict=True))))


def _listed(units: Mapping[str, str]) -> str:
    return ", ".join(labels.in_units(variable, unit) for variable, unit in units.items())


def _lead_span(run: ScoredRun) -> str:
    minutes = run.truth["lead_minutes"].drop_duplicates()
    ends = [labels.lead(float(end)) for end in (minutes.min(), minutes.max())]
    return f"{len(minutes)} leads, {ends[0]} to {ends[1]}" if len(minutes) > 1 else f"the lead {ends[0]}"


def _moments(run: ScoredRun) -> list[str]:
    return sorted(str(time).removesuffix(":00") for time in run.truth["time"].unique())


def _span(times: Sequence[str]) -> str:
    return f"{len(times)} forecast origins, {times[0]} to {times[-1]}" if len(times) > 1 else f"one origin, {times[0]}"
