"""A record whose truth is known: two bumps of rain that a uniform flow carries."""

import numpy as np

FLOW = (2.0, -1.0)  # x, y in pixels per step


def blob(frames: int, height: int = 48, width: int = 60) -> np.ndarray:
    """Rain (t h w) of up to 8 mm/h that moves with `FLOW`; zero far from it."""
    rows, columns = np.mgrid[:height, :width]
    values = []
    for time in range(frames):
        x, y = columns - 20 - FLOW[0] * time, rows - 30 - FLOW[1] * time
        bumps = np.exp(-((x / 7) ** 2) - (y / 5) ** 2) + 0.5 * np.exp(-(((x + 8) / 3) ** 2) - ((y - 4) / 4) ** 2)
        values.append(8 * bumps)
    return np.where(np.stack(values) < 0.1, 0.0, np.stack(values))
