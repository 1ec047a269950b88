"""Scores of forecasts that are distributions, given as equally likely members or as quantiles, in the variable's units.

m members part the line into m + 1 *ranks*; of a good forecast, observations fall into each equally often (Hamill 2001).
Quantiles at the levels i / (m + 1) are such members too, so one code scores ensembles and distributions. An observation
that equals several members, such as no rain among dry members, counts for each rank that it might have by an equal
share: what drawing lots gives on average (Czado, Gneiting and Held 2009, section 2, for counts). Where a single value
is as probable as several ranks together, quantiles know that probability to one rank.

| score       | what                                                                 | best                    |
|-------------|----------------------------------------------------------------------|-------------------------|
| crps        | mean of |x - y| - mean of |x - x'| / 2; members x, x', observation y (1) | 0                       |
| coverage_C  | share of the observations in the central C % of the ranks              | C / 100                 |
| coverage_C_low, _high | 95 % interval of that over the forecast origins, in blocks that share frames (3) | |
| inside_C    | share of them between the ends of that interval, or equal to one       | C / 100; more with ties |
| width_C     | mean width of that interval                                            | small                   |
| brier_T     | mean square of the probability of "value >= T" minus what happened (2) | 0                       |
| reliability | how often the event happened where it had a probability of about p      | p                       |

(1) Gneiting and Raftery 2007, eq. 21; (2) Brier 1950; (3) `metrics.bootstrap_mean`: it knows nothing of other days, and
so says at least how far the coverage can be told from what it should be.

Sums of several forecasts add up, scores do not, as in `physicnet/metrics.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64

from physicnet import metrics
from physicnet.calibration import LEVELS, Calibration
from physicnet.config import EvaluateConfig
from physicnet.evaluation.pooling import LEAD, block_length
from physicnet.evaluation.scoring import Case

INTERVALS = (50, 80, 90)  # per cent
BINS = 10  # of probabilities, of equal width
KEYS = ["model", *LEAD]


def rank_counts(members: Float[np.ndarray, "m n"], truth: Float[np.ndarray, "n"]) -> Float64[np.ndarray, "r"]:
    """Count the observations in each of the m + 1 ranks, ties by equal shares; members ascend along the first axis."""
    first, last = (members < truth).sum(axis=0), (members <= truth).sum(axis=0)
    share = 1.0 / (last - first + 1)
    size = len(members) + 2
    steps = np.bincount(first, share, size) - np.bincount(last + 1, share, size)
    return np.cumsum(steps)[:-1]


def coverage(ranks: Float[np.ndarray, "*n r"], interval: int) -> Float64[np.ndarray, "*n"]:
    """Return the share of the observations in the central ranks that make up `interval` per cent of all."""
    return np.asarray(within(ranks, interval) / ranks.sum(axis=-1))


def within(ranks: Float[np.ndarray, "*n r"], interval: int) -> Float64[np.ndarray, "*n"]:
    """Return the number of observations in the central ranks that make up `interval` per cent of all.

    The number of ranks must be one that this share can be taken of, such as 20.
    """
    outer = ranks.shape[-1] * (100 - interval) / 200
    cut = round(outer)
    assert abs(outer - cut) < 1e-9, f"{interval} % of {ranks.shape[-1]} ranks are no whole ranks on both sides"
    return np.asarray(ranks[..., cut : ranks.shape[-1] - cut].sum(axis=-1), dtype=np.float64)


def crps(members: Float[np.ndarray, "m n"], truth: Float[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Return the continuous ranked probability score of each cell; members ascend along the first axis."""
    count = len(members)
    weights = (2 * np.arange(1, count + 1) - count - 1) / count**2  # of all pairs, once they are in order
    return np.abs(members - truth).mean(axis=0, dtype=np.float64) - weights @ members.astype(np.float64)


def reliability_sums(
    probability: Float[np.ndarray, "n"], happened: Bool[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "b"], Float64[np.ndarray, "b"], Float64[np.ndarray, "b"]]:
    """Return, by bins of the probability, the number of cells, the sum of probabilities and the number of events."""
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    sums = (np.bincount(bins, each, BINS) for each in (np.ones(bins.size), probability, happened))
    cells, expected, events = sums
    return cells, expected, events


@dataclass
class ProbabilityBoard:
    """Collects the sums of case after case."""

    config: EvaluateConfig
    rows: list[dict] = field(default_factory=list)
    events: list[pd.DataFrame] = field(default_factory=list)

    def add(self, case: Case, calibrations: Mapping[str, Mapping[str, Calibration]]) -> None:
        """Reduce what calibrations, by forecaster and variable, make of a case."""
        for name, own in calibrations.items():
            for channel, variable in enumerate(case.past.variables):
                for lead, frame in enumerate(case.forecasts[name][:, channel], 1):
                    known = np.isfinite(case.truth[lead - 1, channel])
                    place = (lead, frame, case.past.times_after(lead)[-1:])
                    members = own[variable].quantiles(*place, LEVELS)[:, known]
                    probability = {
                        threshold: own[variable].exceedance(*place, threshold)[known]
                        for threshold in self.config.thresholds[variable]
                    }
                    self.add_members(name, case, variable, lead, members, probability)

    def add_members(
        self,
        name: str,
        case: Case,
        variable: str,
        lead: int,
        members: Float[np.ndarray, "m n"],
        probability: Mapping[float, Float[np.ndarray, "n"]],
    ) -> None:
        """Reduce members, ascending, and probabilities of events at one lead, in the cells where that was observed."""
        truth = case.truth[lead - 1, case.past.variables.index(variable)]
        truth = truth[np.isfinite(truth)]
        minutes = lead * float(case.past.step / np.timedelta64(1, "m"))
        where = dict(zip(KEYS, (name, variable, case.past.units[variable], lead, minutes), strict=True))
        sums: dict[str, float] = {"cells": truth.size, "crps": crps(members, truth).sum()}
        sums |= {f"rank_{rank}": count for rank, count in enumerate(rank_counts(members, truth), 1)}
        for interval in INTERVALS:
            cut = round((len(members) + 1) * (100 - interval) / 200)
            low, high = members[cut - 1], members[-cut]
            sums[f"inside_{interval}"] = ((low <= truth) & (truth <= high)).sum()
            sums[f"width_{interval}"] = np.subtract(high, low, dtype=np.float64).sum()
        for threshold, chance in probability.items():
            happened = truth >= threshold
            sums[f"brier_{threshold:g}"] = ((chance.astype(np.float64) - happened) ** 2).sum()
            parts = zip(("cells", "expected", "events"), reliability_sums(chance, happened), strict=True)
            self.events.append(
                pd.DataFrame(where | {"threshold": threshold, "bin": np.arange(1, BINS + 1)} | dict(parts))
            )
        self.rows.append(where | {"origin": case.origin} | sums)

    def scores(self) -> pd.DataFrame:
        """Return the scores over all cases, a row per model, variable and lead."""
        total = self._total()
        cells = total["cells"].to_numpy(np.float64)
        scores = total[[*KEYS, "cells"]].assign(crps=metrics.mean(total["crps"].to_numpy(np.float64), cells))
        ranks = total[rank_columns(total)].to_numpy()
        for interval in INTERVALS:
            scores[f"coverage_{interval}"] = coverage(ranks, interval)
        scores = scores.merge(self._intervals(), on=["model", "variable", "lead"])
        means = [name for name in total if str(name).startswith(("inside_", "width_", "brier_"))]
        return scores.assign(**{str(name): metrics.mean(total[name].to_numpy(np.float64), cells) for name in means})

    def _total(self) -> pd.DataFrame:
        rows = pd.DataFrame(self.rows).drop(columns="origin")
        return rows.groupby(KEYS, sort=False).sum(min_count=1).reset_index()

    def _intervals(self) -> pd.DataFrame:
        """Return the intervals of the coverages."""
        rows, tables = pd.DataFrame(self.rows), []
        columns, settings = rank_columns(rows), {"samples": self.config.bootstrap_samples, "seed": self.config.seed}
        for (model, variable), mine in rows.groupby(["model", "variable"], sort=False):
            cells = mine.pivot(index="origin", columns="lead", values="cells")
            block = block_length(cells.index.to_numpy(), num_leads=cells.shape[1])
            table = pd.DataFrame({"model": model, "variable": variable, "lead": cells.columns})
            for interval in INTERVALS:
                counts = mine.assign(held=within(mine[columns].to_numpy(), interval))
                held = counts.pivot(index="origin", columns="lead", values="held").to_numpy()
                ends = metrics.bootstrap_mean(held, cells.to_numpy(np.float64), block=block, **settings)
                table[[f"coverage_{interval}_low", f"coverage_{interval}_high"]] = ends.T
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def ranks(self) -> pd.DataFrame:
        """Return the share of the observations in each rank, a row per model, variable, lead and rank (from 1 on)."""
        total = self._total()
        columns = rank_columns(total)
        shares = total[columns].div(total["cells"], axis=0).set_axis(range(1, len(columns) + 1), axis=1)
        long = pd.concat([total[KEYS], shares], axis=1).melt(KEYS, var_name="rank", value_name="share")
        return long.sort_values([*KEYS, "rank"], kind="stable", ignore_index=True)

    def reliability(self) -> pd.DataFrame:
        """Return how often events happened, a row per model, variable, lead, threshold and bin that holds a cell.

        `probability` is the mean of the bin's cells, `frequency` the share of them where the event happened.
        """
        keys = [*KEYS, "threshold", "bin"]
        if not self.events:
            return pd.DataFrame(columns=[*keys, "cells", "probability", "frequency"])
        total = pd.concat(self.events).groupby(keys, sort=False).sum().reset_index()
        total = total[total["cells"] > 0].reset_index(drop=True)
        return total[[*keys, "cells"]].assign(
            probability=total["expected"] / total["cells"], frequency=total["events"] / total["cells"]
        )


def rank_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that count ranks, in their order."""
    return [str(name) for name in table if str(name).startswith("rank_")]


def means(board: ProbabilityBoard) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Give model, variable and the means over the leads of the CRPS and the coverages; nothing of an empty board."""
    if not board.rows:
        return
    columns = ["crps", *(f"coverage_{interval}" for interval in INTERVALS)]
    for row in (
        board.scores().groupby(["model", "variable"], sort=False)[columns].mean().reset_index().to_dict("records")
    ):
        yield row["model"], row["variable"], {name: float(row[name]) for name in columns}
