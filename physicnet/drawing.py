"""How all figures look: the style, the colours of an amount, frames drawn upright.

Nothing depends on the machine, the clock or a user's matplotlib settings: equal input gives equal bytes, which DVC
compares.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from skimage.color import lab2rgb

from physicnet.fields import Field

Frame = Float[np.ndarray, "h w"]

KILOMETRES = {"m": 1e-3, "metre": 1e-3, "meter": 1e-3, "km": 1.0}
DPI = 110
MISSING = "#d9d9d9"
INK = "#333333"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Grid:
    """Which way the rows run, the width of a cell (km, None if unknown), and its height over its width."""

    rows_ascend: bool
    cell: float | None
    aspect: float

    @classmethod
    def of(cls, field: Field) -> "Grid":
        """Read them from the coordinates."""
        rows, columns = (field.dataset[dim] for dim in field.spatial_dims)
        length = KILOMETRES.get(columns.attrs.get("units", ""))
        return cls(
            rows_ascend=bool(rows.name in field.dataset.coords and rows[-1] > rows[0]),
            cell=None if length is None or columns.size < 2 else abs(float(columns[1] - columns[0])) * length,
            aspect=_aspect(rows, columns),
        )


def _aspect(rows: xr.DataArray, columns: xr.DataArray) -> float:
    """Return height over width of a cell halfway up a grid of latitudes and longitudes; 1 on any other."""
    if not all(str(axis.attrs.get("units", "")).startswith("degree") and axis.size > 1 for axis in (rows, columns)):
        return 1.0
    height, width = (abs(float(axis[-1] - axis[0])) / (axis.size - 1) for axis in (rows, columns))
    return height / (width * np.cos(np.deg2rad(float(rows.mean()))))


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw with our settings and none of the user's."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without date or version in it, whatever the name's end."""
    with drawing_style():
        figure.savefig(path, format="png", metadata={"Software": None}, dpi=DPI)


def ramp() -> Colormap:
    """Return a map from near white over blue to deep purple, for rain and for whatever else has an amount.

    Perceptually uniform: a straight line in CIELAB's lightness, with hue and chroma that stay inside sRGB all along.
    """
    share = np.linspace(0, 1, 256)
    hue = np.deg2rad(225 + 100 * share)
    chroma = 9 + 43 * np.sin(np.pi / 2 * np.minimum(1, share / 0.6))
    lab = np.stack([95 - 77 * share, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    return ListedColormap(lab2rgb(lab), name="amount").with_extremes(bad=MISSING, under="white")


def draw_image(axes: Axes, image: Frame, grid: Grid, **scale: Any) -> AxesImage:
    """Draw an image upright, without ticks or a frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes.imshow(
        image, origin="lower" if grid.rows_ascend else "upper", aspect=grid.aspect, interpolation="nearest", **scale
    )


def observed_box(frames: Float[np.ndarray, "k h w"]) -> tuple[slice, slice]:
    """Return the rows and columns that hold everything observed, with a narrow margin; all if nothing was."""
    seen = np.isfinite(frames).any(axis=0)
    if not seen.any():
        return slice(None), slice(None)
    sides = []
    for axis in (1, 0):
        inside = np.flatnonzero(seen.any(axis=axis))
        sides.append(slice(max(0, int(inside[0]) - 3), int(inside[-1]) + 4))
    return sides[0], sides[1]


def scale_bar(axes: Axes, width: int, grid: Grid) -> None:
    """Draw a bar about a third of the frame wide, below it; nothing if the width of a cell is not known."""
    if grid.cell is None:
        return
    third = width * grid.cell / 3
    power = 10 ** np.floor(np.log10(third))
    length = power * max(step for step in (1, 2, 5) if step * power <= third)
    transform = axes.get_xaxis_transform()
    axes.plot([0, length / grid.cell], [-0.04, -0.04], color=INK, lw=2, transform=transform, clip_on=False)
    axes.text(0, -0.06, f"{length:g} km", transform=transform, va="top")
