"""Rows of frames to draw, and what is found in the figures of them."""

import numpy as np
from matplotlib.figure import Figure
from plotting import drawn

from physicnet.plotting.forecast import Flow
from physicnet.plotting.maps import Ground
from physicnet.plotting.panel import Words
from physicnet.plotting.rows import Row
from physicnet.plotting.scales import RAIN, classes, errors, probability

RECORD = drawn.record("rate")
NUM_LEADS = 6
TRUTH = RECORD.dataset["rate"].values[4 : 4 + NUM_LEADS].astype(np.float64)
SCALE = classes(RAIN, "mm h⁻¹")
OBSERVED = Row("Observed", TRUTH, SCALE, "rate", start=RECORD.dataset["rate"].values[3])
FORECAST = Row("Forecast", TRUTH + 1, SCALE, "rate")
ERROR = Row(
    "Error", np.ones_like(TRUTH), errors(TRUTH, "mm h⁻¹"), "forecast − observed", notes=["RMSE 1.0"] * NUM_LEADS
)
CHANCE = Row("Probability\n> 1 mm h⁻¹", np.full_like(TRUTH, 30.0), probability(), "P(> 1 mm h⁻¹)", events=TRUTH > 1)
WORDS = Words("Rain", "last observed\n00:15", [f"+{5 * n} min\n00:{15 + 5 * n} UTC" for n in range(1, 7)], "model abab")
GROUND = Ground.of(RECORD, (slice(0, 12), slice(0, 14)))
FLOW = Flow(np.full((2, 12, 14), 3.0), "m s-1")


def images(figure: Figure) -> list[np.ndarray]:
    """What is shown of frames, left to right and top to bottom."""
    return [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in figure.axes if axes.images]


def words_of(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title, axes.yaxis.label]]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join([*found, *titles, figure.get_suptitle(), figure.get_supxlabel()])
