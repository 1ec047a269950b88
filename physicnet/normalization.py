"""The way from physical values to the values that networks see, and back.

A variable goes through its pointwise transforms, in their order; then its cycles are taken off, if it has any; then
(x - mean) / std, with one mean and deviation for all cells or with every cell's own. What is fitted comes from the
training part alone. All of it works alike on numpy arrays and on torch tensors; torch itself is not imported.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file

from physicnet.calendar import Times
from physicnet.clock import format_time
from physicnet.cycles import Cycles
from physicnet.fields import DataError
from physicnet.transforms import Transform, functions_of, transform_from_dict

# A variable that varies by less than this share of its mean is constant to single precision.
SINGLE_PRECISION = 2.0**-23
VALID = ("valid_min", "valid_max")
NO_TIMES = np.empty(0, "datetime64[ns]")
Maps = Mapping[str, np.ndarray]  # arrays with a value per cell, by "<variable>/<what>"


@dataclass(frozen=True, eq=False)
class Standardization:
    """One variable's transforms, cycles, and mean and deviation of what is left over the training part."""

    variable: str
    transforms: tuple[Transform, ...]
    mean: float | Float[np.ndarray, "h w"]
    std: float | Float[np.ndarray, "h w"]
    cycles: Cycles | None = None
    valid_min: float | None = None  # what forecasts are kept within, in the variable's units; None: no bound
    valid_max: float | None = None

    def __post_init__(self) -> None:
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        if not (np.isfinite(mean) & np.isfinite(std) & (std > SINGLE_PRECISION * abs(mean))).all():
            raise DataError(
                f"variable {self.variable} cannot be standardised with mean {self.mean} and standard deviation "
                f"{self.std}: its training part is constant, wholly missing or not finite"
            )

    @property
    def is_pointwise(self) -> bool:
        """Whether neither time nor place matters: then views that were cut out can be brought back, too."""
        return self.cycles is None and np.ndim(self.std) == 0

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the frames that it is made for; None if any will do."""
        if self.cycles is not None:
            return self.cycles.grid
        return None if np.ndim(self.std) == 0 else np.shape(self.std)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value that a forecast can have, physical units; infinite where it is free."""
        least, greatest = (float(self.inverse(np.asarray(end))) for end in (-np.inf, np.inf))
        low = least if self.valid_min is None else max(least, self.valid_min)
        return low, greatest if self.valid_max is None else min(greatest, self.valid_max)

    def normalize(self, values: Float[Any, "*batch t h w"], times: Times) -> Float[Any, "*batch t h w"]:
        """From physical units to standardised values."""
        for transform in self.transforms:
            values = transform.forward(values)
        if self.cycles is not None:
            values = values - _like(values, self.cycles.at(times))
        return (values - _like(values, self.mean)) / _like(values, self.std)

    def denormalize(self, values: Float[Any, "*batch t h w"], times: Times) -> Float[Any, "*batch t h w"]:
        """From standardised values to physical units, within the valid range."""
        values = values * _like(values, self.std) + _like(values, self.mean)
        if self.cycles is not None:
            values = values + _like(values, self.cycles.at(times))
        values = self.inverse(values)
        if self.valid_min is None and self.valid_max is None:
            return values
        return functions_of(values).clip(values, self.valid_min, self.valid_max)

    def inverse(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Undo the transforms alone."""
        for transform in reversed(self.transforms):
            values = transform.inverse(values)
        return values

    def rows(self, rows: slice) -> "Standardization":
        """Return the standardisation of some rows of the grid; those of any grid are as they are."""
        cycles = None if self.cycles is None else self.cycles.rows(rows)
        mean, std = (own if np.ndim(own) == 0 else np.asarray(own)[rows] for own in (self.mean, self.std))
        return replace(self, mean=mean, std=std, cycles=cycles)

    def check(self, values: Float[np.ndarray, "t h w"], times: Times, *, first_row: int = 0) -> None:
        """Check that physical values are of the domain of the transforms; `first_row` is where they begin.

        Raises:
            DataError: naming variable, time, cell and value of the first that is not.
        """
        check_domain(self.variable, self.transforms, values, times, corner=(first_row, 0))

    def reach(self, deviations: float) -> tuple[float, float]:
        """Return the physical values that lie so many deviations below and above the mean, the outermost of all."""
        low, high = (0.0, 0.0) if self.cycles is None else self.cycles.bounds()
        ends = (
            np.min(low + self.mean - deviations * self.std),
            np.max(high + self.mean + deviations * self.std),
        )
        lowest, highest = (float(self.inverse(np.asarray(end))) for end in ends)
        return lowest, highest

    def to_dict(self) -> dict[str, Any]:
        """Return what is not a map: plain dictionaries, lists, text and numbers."""
        per_cell = np.ndim(self.std) > 0
        return {
            "variable": self.variable,
            "transforms": [vars(transform) for transform in self.transforms],
            "hours": None if self.cycles is None else self.cycles.known.tolist(),
            "standardize": "per_cell" if per_cell else "global",
            "mean": None if per_cell else self.mean,
            "std": None if per_cell else self.std,
            **{bound: getattr(self, bound) for bound in VALID if getattr(self, bound) is not None},
        }

    def maps(self) -> dict[str, np.ndarray]:
        """Return what has a value per cell."""
        maps = {} if np.ndim(self.std) == 0 else {"mean": self.mean, "std": self.std}
        if self.cycles is not None:
            maps |= {"hourly": self.cycles.hourly, "yearly": self.cycles.yearly}
        # safetensors takes the memory as it lies, whatever the strides say.
        return {f"{self.variable}/{name}": np.ascontiguousarray(array) for name, array in maps.items()}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any], maps: Maps) -> "Standardization":
        """Build the standardisation that `to_dict` and `maps` described."""
        name, hours = entry["variable"], entry["hours"]
        own: dict[str, Any] = {
            key: maps[f"{name}/{key}"] if entry["standardize"] == "per_cell" else entry[key] for key in ("mean", "std")
        }
        cycles = None
        if hours is not None:
            cycles = Cycles(maps[f"{name}/hourly"], maps[f"{name}/yearly"], np.array(hours))
        valid = {bound: entry[bound] for bound in VALID if bound in entry}
        return cls(
            name, tuple(transform_from_dict(step) for step in entry["transforms"]), **own, cycles=cycles, **valid
        )


def check_domain(
    variable: str,
    transforms: tuple[Transform, ...],
    values: Float[np.ndarray, "t h w"],
    times: Times,
    *,
    corner: tuple[int, int] = (0, 0),
) -> None:
    """Check that no value lies below what the transforms are meant for; missing values pass.

    `corner` is the row and column of the frame where `values` begin, for the message.

    Raises:
        DataError: naming variable, time, cell, value and remedy.
    """
    for transform in transforms:
        below = values < transform.smallest
        if below.any():
            frame, row, column = (int(index) for index in np.argwhere(below)[0])
            raise DataError(
                f"variable {variable} is {values[frame, row, column]:g} at {format_time(times[frame])}, row "
                f"{corner[0] + row}, column {corner[1] + column}, but its transform {transform.kind} takes no value "
                f"below {transform.smallest:g}: choose others in normalize.transforms, or let ingest take such values "
                "for missing"
            )


@dataclass(frozen=True, eq=False)
class Normalizer:
    """The standardisation of every variable, in the order of the channels.

    `times` are those of the frames: of the valid times, not of when a forecast was made.
    """

    channels: tuple[Standardization, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables, in the order of the channels."""
        return tuple(channel.variable for channel in self.channels)

    def normalize(self, values: Float[Any, "*batch t c h w"], times: Times) -> Float[Any, "*batch t c h w"]:
        """From physical units to standardised values.

        Raises:
            DataError: if the frames have other channels or another grid than the statistics, or an hour of the day that
                training never saw.
        """
        self._check(values, times)
        return _stacked(channel.normalize(part, times) for channel, part in self._parts(values))

    def denormalize(self, values: Float[Any, "*batch t c h w"], times: Times) -> Float[Any, "*batch t c h w"]:
        """From standardised values to physical units; errors as of `normalize`."""
        self._check(values, times)
        return _stacked(channel.denormalize(part, times) for channel, part in self._parts(values))

    def rescale(self, values: Float[Any, "*batch c h w"], factor: Any) -> Float[Any, "*batch c h w"]:
        """Multiply physical values by a factor, from standardised values to standardised values.

        For pointwise standardisations alone (`Params` sees to that), so that views will do.
        """
        assert all(channel.is_pointwise for channel in self.channels)
        physical = _stacked(channel.denormalize(part, NO_TIMES) for channel, part in self._parts(values)) * factor
        return _stacked(channel.normalize(part, NO_TIMES) for channel, part in self._parts(physical))

    def check(self, values: Float[np.ndarray, "t c h w"], times: Times) -> None:
        """Check that physical values are of the domain of their transforms.

        Raises:
            DataError: naming variable, time, cell, value and remedy.
        """
        for channel, part in self._parts(values):
            channel.check(part, times)

    def _parts(self, values: Any) -> Iterator[tuple[Standardization, Any]]:
        return ((channel, values[..., index, :, :]) for index, channel in enumerate(self.channels))

    def _check(self, values: Any, times: Times) -> None:
        assert len(times) == values.shape[-4], f"{len(times)} times for {values.shape[-4]} frames"
        if values.shape[-3] != len(self.channels):
            raise DataError(f"{values.shape[-3]} channels given, but {len(self.channels)} known: {self.variables}")
        for channel in self.channels:
            if channel.grid not in (None, tuple(values.shape[-2:])):
                raise DataError(
                    f"the statistics of {channel.variable} are of {channel.grid} rows and columns, the frames have "
                    f"{tuple(values.shape[-2:])}: anomalies and deviations of cells hold on the grid of the training "
                    "data alone"
                )

    def to_dict(self) -> list[dict[str, Any]]:
        """Return what `from_dict` reads beside the maps: plain lists, dictionaries, text and numbers."""
        return [channel.to_dict() for channel in self.channels]

    def maps(self) -> dict[str, np.ndarray]:
        """Return the fitted maps of all variables, float32, by `<variable>/<what>`; empty if there are none."""
        return {name: array for channel in self.channels for name, array in channel.maps().items()}

    @classmethod
    def from_dict(cls, entries: list[dict[str, Any]], maps: Maps) -> "Normalizer":
        """Build the normalizer that `to_dict` and `maps` described."""
        return cls(tuple(Standardization.from_dict(entry, maps) for entry in entries))

    @classmethod
    def load(cls, statistics: Path, maps: Path) -> "Normalizer":
        """Read the normalizer out of `statistics.json` and the file of its maps.

        Raises:
            DataError: if one of them does not exist.
        """
        for path in (statistics, maps):
            if not path.is_file():
                raise DataError(f"{path} does not exist; run the stage that writes it (dvc repro)")
        return cls.from_dict(json.loads(statistics.read_text(encoding="utf-8"))["variables"], load_file(maps))


def _stacked(parts: Iterator[Any]) -> Any:
    found = list(parts)
    return functions_of(found[0]).stack(found, axis=-3)


def _like(values: Any, number: float | np.ndarray) -> Any:
    """Return numbers of double precision in the precision, and on the device, of `values`."""
    if np.ndim(number) == 0:
        return number
    return functions_of(values).asarray(number, dtype=values.dtype, device=values.device)
