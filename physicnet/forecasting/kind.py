"""What observations must be like for a model to forecast from them: its frames, its clock, its grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from physicnet.checkpoint import CheckpointError, load_checkpoint
from physicnet.clock import format_time
from physicnet.data.spacing import Spacing, compare_spacing, spacing_of
from physicnet.fields import DataError, Field, time_differences

SECOND = np.timedelta64(1, "s")


@dataclass(frozen=True)
class Kind:
    """The number of frames that a model takes, their step, and the spacing of rows and columns."""

    frames_in: int
    step: np.timedelta64
    grid: list[Spacing]

    @classmethod
    def of(cls, checkpoint: Path) -> "Kind":
        """Take it from a checkpoint of joint training.

        Raises:
            CheckpointError: if the checkpoint is none, or does not tell time step and grid.
        """
        told = metadata_of(checkpoint, "clip", "step_seconds", "grid")
        step = np.timedelta64(round(1000 * told["step_seconds"]), "ms")
        return cls(told["clip"]["frames_in"], step, [Spacing(**axis) for axis in told["grid"]])

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
        """Check that rows and columns are as far apart as in training, and none is absent; where they lie is free.

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
        if faults:
            raise DataError(
                f"the grid (here) is not like the one that the model was trained on (there): {'; '.join(faults)}; "
                "give it frames of whole rows and columns of that spacing, in the units of the training data"
            )


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


def _runs_one_way(coordinate: np.ndarray) -> bool:
    steps = np.diff(coordinate)
    return bool((steps > 0).all() or (steps < 0).all())
