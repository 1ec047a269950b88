"""What observations must be like for a model to forecast from them: its frames, its clock, its grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from physicnet.checkpoint import CheckpointError, load_checkpoint
from physicnet.clock import format_time
from physicnet.data.spacing import Ends, Spacing, compare_spacing, is_elsewhere, mapping_of, place_of, spacing_of
from physicnet.fields import DataError, Field, time_differences

SECOND = np.timedelta64(1, "s")


@dataclass(frozen=True)
class Kind:
    """The number of frames that a model takes, their step, and the spacing of rows and columns."""

    frames_in: int
    step: np.timedelta64
    grid: list[Spacing]
    grid_mapping: str | None  # the name of the projection; None: unknown
    place: list[Ends | None]  # the first and last row and column of the training data
    is_tied: bool  # whether what is normalised has a value for each cell of that place

    @classmethod
    def of(cls, checkpoint: Path) -> "Kind":
        """Take it from a checkpoint of joint training.

        Raises:
            CheckpointError: if the checkpoint is none, or does not tell time step and grid.
        """
        told = metadata_of(checkpoint, "clip", "normalizer", "step_seconds", "grid")
        step = np.timedelta64(round(1000 * told["step_seconds"]), "ms")
        grid = [Spacing(**axis) for axis in told["grid"]]
        tied = any(each["standardize"] == "per_cell" or each["hours"] is not None for each in told["normalizer"])
        # Models that were served before these were told know neither.
        mapping, ends = told.get("grid_mapping"), told.get("place", [None] * len(grid))
        place = [None if pair is None else (pair[0], pair[1]) for pair in ends]
        return cls(told["clip"]["frames_in"], step, grid, mapping, place, tied)

    def check_clock(self, past: Field) -> None:
        """Check that frames are the model's step apart.

        Raises:
            DataError: naming the first that is not.
        """
        differences = time_differences(past.times)
        off = differences != self.step
        if off.any():
            frame = int(np.argmax(off))
            raise DataError(
                f"{format_time(past.times[frame + 1])} comes {differences[frame] / SECOND:g} s after the frame before "
                f"it, but the model knows steps of {self.step / SECOND:g} s; give it {len(past.times)} frames that far "
                "apart, one that was not observed with nothing but missing values"
            )

    def check_grid(self, past: Field) -> None:
        """Check that rows and columns are as far apart as in training, run the same way, and none is absent.

        Where they lie is free, unless what is normalised has a value for each cell.

        Raises:
            DataError: naming every difference.
        """
        own = spacing_of(past)
        faults = compare_spacing(own, self.grid).differences
        faults += [
            f"{there.axis} is uneven: a row or column is absent, repeated or out of order"
            for here, there in zip(own, self.grid, strict=True)
            if (there.regular and not here.regular) or not _runs_one_way(past.dataset[here.axis].values)
        ]
        mapping = mapping_of(past)
        if None not in (mapping, self.grid_mapping) and mapping != self.grid_mapping:
            faults.append(f"grid mapping: {self.grid_mapping} there, {mapping} here")
        faults += [
            f"{own[axis].axis} runs the other way (turn it round, such as by dataset.isel({own[axis].axis}="
            "slice(None, None, -1)), or ask for regridding)"
            for axis in self.turned(past)
        ]
        faults += self._places(past, own) if self.is_tied else []
        if faults:
            raise DataError(
                f"the grid (here) is not like the one that the model was trained on (there): {'; '.join(faults)}; "
                "give it frames of whole rows and columns of that spacing, in the units of the training data"
            )

    def turned(self, past: Field) -> list[int]:
        """Return the axes (0: rows, 1: columns) whose coordinate falls where that of training rises, or the reverse."""
        pairs = zip(place_of(past), self.place, strict=True)
        return [axis for axis, (here, there) in enumerate(pairs) if here and there and _rises(here) != _rises(there)]

    def _places(self, past: Field, own: list[Spacing]) -> list[str]:
        return [
            f"{axis.axis} from {here[0]:g} to {here[1]:g} here, {there[0]:g} to {there[1]:g} there, and the model "
            "knows anomalies or deviations of these very cells"
            for axis, theirs, here, there in zip(own, self.grid, place_of(past), self.place, strict=True)
            if here is not None and there is not None and is_elsewhere(axis, theirs, here, there)
        ]


def metadata_of(checkpoint: Path, *keys: str) -> dict[str, Any]:
    """Return the metadata of a checkpoint, which must tell `keys`.

    Raises:
        CheckpointError: if it is no checkpoint, or does not tell one of them.
    """
    metadata = load_checkpoint(checkpoint).metadata
    missing = [key for key in keys if key not in metadata]
    if missing:
        raise CheckpointError(
            f"{checkpoint} does not tell {', '.join(missing)}: it is no model of this version; train again"
        )
    return metadata


def _rises(ends: Ends) -> bool:
    return ends[1] > ends[0]


def _runs_one_way(coordinate: np.ndarray) -> bool:
    steps = np.diff(coordinate)
    return bool((steps > 0).all() or (steps < 0).all())
