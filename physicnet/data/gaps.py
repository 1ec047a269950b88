"""Where the record has no frame although its clock goes on, and how many clips that costs."""

import numpy as np
import pandas as pd
from jaxtyping import Int64

from physicnet.clock import written

GAP_COLUMNS = ("after", "before", "missing_frames", "clips_lost")


def gaps_of(
    times: Int64[np.ndarray, "t"], sequences: Int64[np.ndarray, "t"], step: int, calendar: str, clip_frames: int
) -> pd.DataFrame:
    """Return a row per gap: the times of the frames around it, the frames that it lacks, the clips that it costs.

    A clip of `clip_frames` consecutive steps within the record is lost if it contains one of the missing times. Clips
    that contain times of two gaps are counted for both. `times` and `step` are in milliseconds. Between two sequences
    there is no gap.
    """
    places = (times - times[0]) // step
    before = np.flatnonzero((np.diff(places) > 1) & (np.diff(sequences) == 0))
    first, last = places[before] + 1, places[before + 1] - 1
    latest_start = places[-1] + 1 - clip_frames
    lost = np.minimum(last, latest_start) - np.maximum(first - clip_frames + 1, 0) + 1
    return pd.DataFrame(
        {
            "after": written(times[before], calendar),
            "before": written(times[before + 1], calendar),
            "missing_frames": last - first + 1,
            "clips_lost": np.maximum(lost, 0),
        }
    )
