"""Frames on a map: their colours, arrows, coastlines, and how long a kilometre is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from physicnet.data.axes import is_position
from physicnet.drawing import INK, Frame, Grid, draw_image, scale_bar
from physicnet.evaluation.figures import ARROWS
from physicnet.fields import Field
from physicnet.plotting.forecast import Flow
from physicnet.plotting.scales import Scale
from physicnet.plotting.units import written

DEGREE = 111.195  # kilometres of a great circle, on a sphere of 6371 km
HATCH = "////"
FAINT = 0.35  # how much of a frame is seen below the arrows of its motion
ALONG = 14  # arrows along the longer side

Line = Float[np.ndarray, "n 2"]  # columns and rows, in cells


@dataclass(frozen=True, eq=False)
class Ground:
    """The part of a grid that is drawn, and what lies on it."""

    grid: Grid
    box: tuple[slice, slice]
    coasts: Sequence[Line] = ()
    latitude: float | None = None  # in degrees, where the scale bar holds; None: on a map that is not of latitudes

    @classmethod
    def of(cls, field: Field, box: tuple[slice, slice], coasts: Sequence[Line] = ()) -> "Ground":
        """Read it from the coordinates; cells of latitude and longitude are measured in the middle of the box."""
        grid, (height, width) = Grid.of(field), field.shape[2:]
        box = slice(*box[0].indices(height)[:2]), slice(*box[1].indices(width)[:2])
        rows, columns = (field.dataset[dim][part] for dim, part in zip(field.spatial_dims, box, strict=True))
        if not all(_in_degrees(axis) for axis in (rows, columns)):
            return cls(grid, box, coasts)
        latitude = float(rows.mean())
        degrees = abs(float(columns[-1] - columns[0])) / (columns.size - 1)
        cell = degrees * DEGREE * float(np.cos(np.deg2rad(latitude)))
        return cls(replace(grid, cell=cell), box, coasts, latitude if is_position(rows.attrs) else None)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the part that is drawn."""
        height, width = (part.stop - part.start for part in self.box)
        return height, width

    @property
    def ratio(self) -> float:
        """Height over width of the part that is drawn."""
        return self.grid.aspect * self.shape[0] / self.shape[1]


def _in_degrees(axis: xr.DataArray) -> bool:
    return str(axis.attrs.get("units", "")).startswith("degree") and axis.size > 1


def draw_frame(axes: Axes, frame: Frame, ground: Ground, scale: Scale) -> None:
    """Draw one frame upright: hatched where it is far below zero, a line around what is missing, coasts."""
    part = frame[ground.box]
    draw_image(axes, part, ground.grid, cmap=scale.colours, norm=scale.norm)
    if np.isnan(part).any() and not np.isnan(part).all():  # in print, its grey may be that of a value
        axes.contour(np.isnan(part).astype(float), levels=[0.5], colors=[INK], linewidths=0.5)
    if scale.is_about_zero and (part < scale.hatched_below).any():
        low = np.where(part < scale.hatched_below, 1.0, 0.0)
        hatched = axes.contourf(low, levels=[0.5, 1.5], colors="none", hatches=[HATCH])
        hatched.set(edgecolor=INK, linewidth=0.0)
    draw_coasts(axes, ground)


def draw_below(axes: Axes, frame: Frame, ground: Ground, scale: Scale) -> None:
    """Draw one frame faintly, for arrows to be seen on it."""
    draw_image(axes, frame[ground.box], ground.grid, cmap=scale.colours, norm=scale.norm, alpha=FAINT)
    draw_coasts(axes, ground)


def draw_coasts(axes: Axes, ground: Ground) -> None:
    """Draw the coasts within the part that is drawn."""
    height, width = ground.shape
    for line in ground.coasts:
        axes.plot(line[:, 0] - ground.box[1].start, line[:, 1] - ground.box[0].start, color=INK, lw=0.7, zorder=3)
    if ground.coasts:
        limits = (-0.5, height - 0.5) if ground.grid.rows_ascend else (height - 0.5, -0.5)
        axes.set(xlim=(-0.5, width - 0.5), ylim=limits)


def draw_outline(axes: Axes, event: np.ndarray, ground: Ground) -> None:
    """Draw a line around the cells of an event."""
    part = event[ground.box]
    if part.any() and not part.all():
        line = axes.contour(part.astype(float), levels=[0.5], colors=[ARROWS], linewidths=0.9)
        line.set_path_effects([withStroke(linewidth=1.8, foreground="white")])


def draw_arrows(axes: Axes, flow: Flow, ground: Ground, *, typical: float, key: bool) -> None:
    """Draw arrows along a flow, upright on the map, with the length of a typical speed below if `key`."""
    height, width = ground.shape
    apart = max(1, max(height, width) // ALONG)
    rows, columns = np.mgrid[apart // 2 : height : apart, apart // 2 : width : apart].reshape(2, -1)
    right, up = flow.vectors[:, *ground.box][:, rows, columns]
    known = np.isfinite(right) & np.isfinite(up)
    arrows = axes.quiver(
        columns[known],
        rows[known],
        right[known],
        up[known],
        angles="uv",
        scale_units="x",
        scale=typical / (1.3 * apart),
        pivot="mid",
        color=ARROWS,
        width=0.008,
        edgecolor="white",
        linewidth=0.4,
        zorder=4,
    )
    if key:
        text = f"{typical:g} {written(flow.units)}"
        axes.quiverkey(arrows, 0.5, -0.05, typical, text, labelpos="E", coordinates="axes", labelsep=0.05)


def typical_speed(flows: Sequence[Flow]) -> float:
    """Return the speed of a long arrow, the same for all flows: their 90th percentile, to one digit."""
    speeds = np.concatenate([np.hypot(*flow.vectors).ravel() for flow in flows])
    known = speeds[np.isfinite(speeds)]
    return float(f"{max(float(np.quantile(known, 0.9)), 1e-3):.1g}") if known.size else 1.0


def draw_distance(axes: Axes, ground: Ground) -> None:
    """Draw a bar of so many kilometres below a frame, if the width of a cell is known, and where it holds."""
    scale_bar(axes, ground.shape[1], ground.grid)
    if ground.latitude is not None:
        label = axes.texts[-1]
        label.set_text(f"{label.get_text()} at {abs(ground.latitude):.0f}° {'N' if ground.latitude >= 0 else 'S'}")


def draw_bar(figure: Figure, scale: Scale, axes: Sequence[Axes] | np.ndarray, label: str) -> Colorbar:
    """Draw a scale beside the axes; hatched where frames are."""
    mappable = ScalarMappable(scale.norm, scale.colours)
    ticks = scale.norm.boundaries if isinstance(scale.norm, BoundaryNorm) else None
    bar = figure.colorbar(mappable, ax=axes, extend=scale.extend, ticks=ticks, aspect=22, pad=0.012, shrink=0.92)
    bar.set_label(f"{label} ({scale.units})" if scale.units else label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)
    if isinstance(scale.norm, BoundaryNorm):
        bar.ax.set_yticklabels([f"{value:g}" for value in scale.norm.boundaries])
        bar.ax.minorticks_off()
    if scale.is_about_zero:
        low = float(scale.norm.vmin or 0.0)
        patch = Rectangle((0, low), 1, scale.hatched_below - low, fill=False, hatch=HATCH, lw=0, edgecolor=INK)
        patch.set_transform(bar.ax.get_yaxis_transform())
        bar.ax.add_patch(patch)
    return bar
