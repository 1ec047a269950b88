"""The catalogue: what became of every file, of every frame, and where the record has gaps."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd

from physicnet.clock import written
from physicnet.config import IngestConfig
from physicnet.data.gaps import GAP_COLUMNS, gaps_of
from physicnet.data.judge import ACCEPTED, DUPLICATE, QUARANTINED, SUPERSEDED, Verdict, cadence_of
from physicnet.data.sources import in_order
from physicnet.data.survey import NONE, Refusal, Survey
from physicnet.fields import DataError

ABSENT = "absent"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Tables with a row per file, per frame and variable, and per gap; docs/data-formats.md has the columns."""

    files: pd.DataFrame
    frames: pd.DataFrame
    gaps: pd.DataFrame

    @classmethod
    def of(cls, verdict: Verdict, config: IngestConfig, clip_frames: int) -> "Catalogue":
        """Describe a verdict. Values are in the units of the parameters, before coarsening."""
        files = file_fates(verdict)
        frames = _frame_rows(verdict, config)
        if len(verdict.times) < 2:
            return cls(files, frames, pd.DataFrame(columns=list(GAP_COLUMNS)))
        sequences = verdict.of_frames("sequence")
        return cls(files, frames, gaps_of(verdict.times, sequences, verdict.step, verdict.calendar, clip_frames))

    @property
    def num_refused(self) -> int:
        """Files that are quarantined, as a whole or in part."""
        return int(((self.files["status"] == QUARANTINED) | (self.files["quarantined_frames"] > 0)).sum())

    def write(self, folder: Path) -> None:
        """Write each table as CSV, to read, and as Parquet, to work with."""
        folder.mkdir()
        for name, table in (("files", self.files), ("frames", self.frames), ("gaps", self.gaps)):
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", float_format="%.6g")
            table.to_parquet(folder / f"{name}.parquet", index=False)

    def refuse_above(self, max_quarantined: int) -> None:
        """Check the number of refused files.

        Raises:
            DataError: if it is above `max_quarantined`.
        """
        if self.num_refused > max_quarantined:
            raise DataError(
                f"{self.num_refused} of {len(self.files)} files are quarantined, as a whole or in part, more than "
                f"ingest.max_quarantined = {max_quarantined}; the rest is ingested. Repair them or take them out of "
                "the folder (the catalogue says why each is refused), or raise ingest.max_quarantined"
            )


FILE_COLUMNS = {
    "path": "str",
    "sha256": "str",
    "status": "str",
    "reason": "str",
    "variables": "str",
    "shape": "str",
    "first": "str",
    "last": "str",
    "step_seconds": "Float64",
    "frames": "Int64",
    "quarantined_frames": "Int64",
    "missing": "str",
    "invalid": "str",
    "min": "str",
    "max": "str",
}


def file_fates(verdict: Verdict) -> pd.DataFrame:
    """Return the table of files: what becomes of each, and why."""
    rows = {survey.source: _survey_row(survey, verdict, index) for index, survey in enumerate(verdict.surveys)}
    rows |= {refusal.source: _refusal_row(refusal) for refusal in verdict.refusals}
    return pd.DataFrame([rows[source] for source in in_order(rows)], columns=list(FILE_COLUMNS)).astype(FILE_COLUMNS)


def _refusal_row(refusal: Refusal) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(FILE_COLUMNS, "")
    return row | {
        "path": refusal.source.name,
        "sha256": refusal.sha256,
        "status": QUARANTINED,
        "reason": refusal.reason,
        "step_seconds": None,
        "frames": 0,
        "quarantined_frames": 0,
    }


def _survey_row(survey: Survey, verdict: Verdict, index: int) -> dict[str, object]:
    rows = verdict.frames[verdict.frames["file"] == index]
    times = np.unique(rows["time"].to_numpy())
    labels = written(times[[0, -1]], survey.calendar)
    status, reason = _fate(rows)
    return {
        "path": survey.source.name,
        "sha256": survey.sha256,
        "status": status,
        "reason": reason,
        "variables": ";".join(survey.header.variables),
        "shape": "x".join(map(str, (rows["frame"].nunique(), *survey.grid.shape))),
        "first": labels[0],
        "last": labels[1],
        "step_seconds": cadence_of(times).step / 1000 if len(times) > 1 else None,
        "frames": rows["frame"].nunique(),
        "quarantined_frames": rows.loc[rows["status"] == QUARANTINED, "frame"].nunique(),
    } | _ranges(survey, rows)


def _fate(rows: pd.DataFrame) -> tuple[str, str]:
    """Return the status and the reason of a file from those of its frames."""
    counts = rows.groupby("status")["frame"].nunique()
    texts = []
    for status in (QUARANTINED, SUPERSEDED, DUPLICATE):
        if status in counts:
            because = rows.loc[rows["status"] == status, "reason"].unique()
            more = f" (and {len(because) - 1} other reasons)" if len(because) > 1 else ""
            texts.append(f"{counts[status]} of {rows['frame'].nunique()} frames {status}: {because[0]}{more}")
    worst = next(status for status in (ACCEPTED, QUARANTINED, SUPERSEDED, DUPLICATE) if status in counts)
    return worst, "; ".join(texts)


def _ranges(survey: Survey, rows: pd.DataFrame) -> dict[str, str]:
    """One number per variable, joined by `;`: shares of missing and invalid cells, range of the valid ones."""
    groups = rows.groupby("variable")
    cells = groups.size() * survey.grid.shape[0] * survey.grid.shape[1]
    columns = {
        "missing": 1 - (groups["observed"].sum() - groups["invalid"].sum()) / cells,
        "invalid": groups["invalid"].sum() / cells,
        "min": groups["min"].min(),
        "max": groups["max"].max(),
    }
    return {
        name: ";".join(f"{column[variable]:.6g}" for variable in survey.header.variables)
        for name, column in columns.items()
    }


def _frame_rows(verdict: Verdict, config: IngestConfig) -> pd.DataFrame:
    frames, cells = verdict.frames, prod(verdict.grid.shape) if verdict.surveys else 0
    table = pd.DataFrame(
        {
            "time": frames["time"],
            "sequence": frames["sequence"].astype("Int64").where(frames["sequence"] != NONE),
            "variable": frames["variable"],
            "path": frames["file"].map({index: survey.source.name for index, survey in enumerate(verdict.surveys)}),
            "frame": frames["frame"].astype("Int64"),
            "status": frames["status"],
            "reason": frames["reason"],
            "missing": 1 - (frames["observed"] - frames["invalid"]) / cells,
            "invalid": frames["invalid"] / cells,
            "min": frames["min"],
            "max": frames["max"],
        }
    )
    absent = [_absent(verdict, variable.channel) for variable in config.variables]
    table = pd.concat([table, *(rows for rows in absent if len(rows))], ignore_index=True)
    table = table.sort_values(["time", "variable"], kind="stable", ignore_index=True)
    return table.assign(time=written(table["time"].to_numpy(), verdict.calendar)).astype(
        {"time": "str", "variable": "str", "path": "str", "status": "str", "reason": "str"}
    )


def _absent(verdict: Verdict, variable: str) -> pd.DataFrame:
    """Rows for the times of the record at which no file gives a variable."""
    times = verdict.times[verdict.origins(variable)[:, 0] < 0]
    return pd.DataFrame({"time": times}).assign(
        variable=variable, path="", status=ABSENT, reason=f"no accepted frame has {variable} at this time", missing=1.0
    )
