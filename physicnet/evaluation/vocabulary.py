"""What the codes stand for, read from the test part: where each is chosen, what is there, and what becomes of it.

A code is read from the fields that it was chosen for and not from a decoder: the one of pretraining no longer fits
codes that joint training has moved. Only sums are kept of a forecast origin, so memory does not grow with their number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int
from scipy import ndimage

from physicnet import metrics
from physicnet.calendar import Times
from physicnet.config import EvaluateConfig
from physicnet.drawing import Frame
from physicnet.evaluation.pooling import block_length
from physicnet.evaluation.scoring import Case
from physicnet.normalization import Normalizer, Standardization

AROUND = 3  # coarse cells along the side of the patch that shows what a code stands for
MANY = 24  # origins that are read at most, spread evenly over the test part


@dataclass(frozen=True, eq=False)
class Amount:
    """How a variable is shown: in its units, or as standardised deviations where places or hours are not alike.

    A temperature's code says "colder than this hour of the day is here", not a temperature.
    """

    channel: Standardization
    physical_units: str

    @property
    def units(self) -> str:
        """Units of the amount."""
        return self.physical_units if self.channel.is_pointwise else "standard deviations"

    def of(self, values: Float[np.ndarray, "t h w"], times: Times) -> Float[np.ndarray, "t h w"]:
        """The amount of physical values."""
        return values if self.channel.is_pointwise else np.asarray(self.channel.normalize(values, times))


@dataclass
class CodeStatistics:
    """Collects, case after case, what the codes of the global view stand for in the first variable."""

    amount: Amount
    origins: list[int] = field(default_factory=list)
    rows: list[pd.DataFrame] = field(default_factory=list)
    patches: dict[int, Float64[np.ndarray, "2 s s"]] = field(default_factory=dict)  # sums and counts
    lead: int = 0

    @classmethod
    def of(cls, normalizer: Normalizer, units: Mapping[str, str]) -> "CodeStatistics":
        """Begin with nothing."""
        channel = normalizer.channels[0]
        return cls(Amount(channel, units[channel.variable]))

    def add(self, case: Case, explanation: Mapping[str, np.ndarray]) -> None:
        """Read one forecast origin; its codes count where the last frame was mostly observed.

        The change is that of the truth half of the forecast's leads later, followed along the model's flow: what
        merely moves on neither grows nor decays.
        """
        codes = explanation["codes"]
        n, leads = case.past.shape[0], len(case.truth)
        self.lead = max(1, leads // 2)
        last = self.amount.of(case.past.frames(n - 1, n)[:, 0], case.past.times[-1:])[0]
        after = self.amount.of(case.truth[:, 0], case.past.times_after(leads))[self.lead - 1]
        moved = carried_back(after, self.lead * explanation["flow"])
        value, later = (cell_means(frame, codes.shape) for frame in (last, moved))
        seen = np.isfinite(value)
        self._add_patches(last, codes, seen)
        followed = seen & np.isfinite(later)
        change = np.where(followed, later - value, 0.0)
        table = pd.DataFrame(
            {"code": codes[seen], "value": value[seen], "change": change[seen], "followed": followed[seen]}
        )
        sums = table.assign(cells=1).groupby("code").sum().reset_index()
        self.rows.append(sums.assign(origin=case.origin))
        self.origins.append(case.origin)

    def _add_patches(self, frame: Frame, codes: Int[np.ndarray, "i j"], seen: Bool[np.ndarray, "i j"]) -> None:
        patches = patches_around(frame, codes.shape)  # i j s s
        for code in np.unique(codes[seen]):
            here = patches[seen & (codes == code)].astype(np.float64)
            known = np.isfinite(here)
            parts = np.stack([np.where(known, here, 0.0).sum(axis=0), known.sum(axis=0)])
            self.patches[int(code)] = self.patches.get(int(code), 0.0) + parts

    def table(self, config: EvaluateConfig) -> pd.DataFrame:
        """Return a row per code in use, the most common first.

        `share` of the coarse cells, `value`: mean amount in them, `change` of it until `lead`, with the 95 % interval
        of a block bootstrap over the origins (NaN of a single origin).
        """
        sums = pd.concat(self.rows).pivot_table(index="origin", columns="code", fill_value=0.0)
        total = sums.sum()
        block = block_length(np.array(self.origins), num_leads=self.lead)
        ends = metrics.bootstrap_mean(
            sums["change"].to_numpy(np.float64),
            sums["followed"].to_numpy(np.float64),
            block=block,
            samples=config.bootstrap_samples,
            seed=config.seed,
        )
        table = pd.DataFrame(
            {
                "code": total["cells"].index,
                "cells": total["cells"].to_numpy(np.int64),
                "share": (total["cells"] / total["cells"].sum()).to_numpy(),
                "value": metrics.mean(total["value"].to_numpy(), total["cells"].to_numpy()),
                "change": metrics.mean(total["change"].to_numpy(), total["followed"].to_numpy()),
                "change_low": ends[0],
                "change_high": ends[1],
                "units": self.amount.units,
                "lead": self.lead,
            }
        )
        return table.sort_values(["cells", "code"], ascending=[False, True], ignore_index=True)

    def means(self) -> dict[int, Float64[np.ndarray, "s s"]]:
        """Return the mean patch of each code, NaN where nothing was observed."""
        return {code: metrics.mean(*parts) for code, parts in self.patches.items()}


def carried_back(frame: Frame, displacement: Float[np.ndarray, "2 h w"]) -> Float64[np.ndarray, "h w"]:
    """Return the frame as seen from where its parcels were before the displacement (x, y in pixels); NaN beyond it."""
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    where = np.stack([rows + displacement[1], columns + displacement[0]])
    return np.asarray(ndimage.map_coordinates(frame.astype(np.float64), where, order=1, mode="constant", cval=np.nan))


def cell_means(frame: Frame, shape: tuple[int, ...]) -> Float64[np.ndarray, "i j"]:
    """Return the mean of each coarse cell; NaN where not more than half of it was observed."""
    rows, columns = (np.arange(size) * n // size for size, n in zip(frame.shape, shape, strict=True))
    cell = (rows[:, None] * shape[1] + columns).ravel()
    known = np.isfinite(frame).ravel()
    size = shape[0] * shape[1]
    sums = np.bincount(cell[known], weights=frame.ravel()[known], minlength=size)
    counts, cells = np.bincount(cell[known], minlength=size), np.bincount(cell, minlength=size)
    return np.where(2 * counts > cells, sums / np.maximum(counts, 1), np.nan).reshape(shape)


def patches_around(frame: Frame, shape: tuple[int, ...]) -> Float[np.ndarray, "i j s s"]:
    """Return the square around the centre of each coarse cell, `AROUND` cells wide, NaN beyond the frame."""
    height, width = frame.shape
    side = AROUND * round(height / shape[0])
    padded = np.pad(frame, side, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(int) + side - side // 2
        for n, size in zip(shape, (height, width), strict=True)
    )
    return np.asarray(windows[rows[:, None], columns])
