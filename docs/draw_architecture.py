"""Draw the architecture of PhysicNet as the code has it: python docs/draw_architecture.py.

The boxes carry the names of `physicnet/model/`. The little maps are blobs that drift; they show no data. Equal code
gives equal bytes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from physicnet.drawing import INK, drawing_style, ramp

TARGET = Path(__file__).parent / "figures" / "architecture.png"
WIDTH, BOTTOM, TOP = 209.0, -15.0, 110.0  # units of the drawing; 20 to the inch
DPI = 180  # twice what a page of 900 pixels shows

PLAIN = ("#f4f4f4", "#8a8a8a")  # fill and edge; colours of Okabe and Ito, which the colour-blind can tell apart
GLOBAL = ("#dcebf6", "#0072B2")
LOCAL = ("#fbe6d4", "#D55E00")
CODES = ("#d8f0e7", "#009E73")
TITLE, NOTE = 9.5, 8.2  # points

Place = tuple[float, float]


def main() -> None:
    """Write the figure."""
    with drawing_style():
        figure = Figure((WIDTH / 20, (TOP - BOTTOM) / 20))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(BOTTOM, TOP))
        axes.set_axis_off()
        draw_input(axes)
        draw_levels(axes)
        draw_codebook(axes)
        draw_memory(axes)
        draw_output(axes)
        TARGET.parent.mkdir(exist_ok=True)
        figure.savefig(TARGET, dpi=DPI, metadata={"Software": None})


def draw_input(axes: Axes) -> None:
    """Draw the past, the first flow and the present."""
    stack(axes, (3, 80), [blobs(time) for time in (-3, -2, -1, 0)], size=13.5)
    caption(axes, (12, 75.5), "past frames\nand their masks")
    box(axes, (29, 78), (23, 20), PLAIN, "First flow", ["matching, then", "Lucas–Kanade;", "no parameters"])
    stack(axes, (31.5, 44), [blobs(0)] * 4, size=13.5)
    for x, y in ((2, 3), (4.2, 3), (4.2, 5.2), (2, 5.2)):
        corner = (31.5 + x, 44 + y)
        axes.add_patch(Rectangle(corner, 4.4, 4.4, fill=False, edgecolor=LOCAL[1], lw=1.1, zorder=9))
    caption(axes, (40.5, 40.5), "present: every frame\ncarried to now")
    arrow(axes, [(21, 88), (29, 88)])
    arrow(axes, [(12, 69), (12, 51.5), (31.3, 51.5)])
    arrow(axes, [(40.5, 78), (40.5, 62.3)])
    arrow(axes, [(52, 94), (56, 94), (56, 101), (117, 101), (117, 98)])
    arrow(axes, [(49.5, 57), (56, 57), (56, 82), (60, 82)])
    arrow(axes, [(49.5, 50), (56, 50), (56, 23), (60, 23)], LOCAL[1])
    axes.text(55, 25.5, "cut into\nwindows", fontsize=NOTE, ha="right", va="center", color=LOCAL[1], linespacing=1.3)


def draw_levels(axes: Axes) -> None:
    """Draw the global level above and the local level, its mirror image, below."""
    axes.add_patch(Rectangle((58, 64), 80, 45, facecolor=GLOBAL[0], alpha=0.35, lw=0, zorder=0))
    axes.add_patch(Rectangle((58, 1), 80, 41, facecolor=LOCAL[0], alpha=0.35, lw=0, zorder=0))
    axes.text(60, 105.5, "GLOBAL LEVEL  whole view", fontsize=NOTE, color=GLOBAL[1], weight="bold", va="center")
    axes.text(
        60, 4.2, "LOCAL LEVEL  trained on windows of 32 × 32", fontsize=NOTE, color=LOCAL[1], weight="bold", va="center"
    )
    box(axes, (60, 67), (24, 31), GLOBAL, "Encoder", ["½, ¼, ⅛ of the", "resolution"])
    box(axes, (60, 8), (24, 31), LOCAL, "Encoder", ["full, ½, ¼ of the", "resolution"])
    box(
        axes,
        (98, 84),
        (38, 14),
        GLOBAL,
        "Flow expert",
        ["ConvGRU weighs the evidence", "of the frames, and looks again"],
    )
    box(
        axes,
        (98, 67),
        (38, 14),
        GLOBAL,
        "Source expert",
        ["coarse amounts × bands; with", "model.drawing, a U-Net instead"],
    )
    box(axes, (98, 25), (38, 14), LOCAL, "Source expert", ["coarse amounts × bands,", "at full resolution"])
    box(axes, (98, 8), (38, 14), LOCAL, "Flow expert", ["ConvGRU corrects the global", "flow in the same way"])
    for y, text in ((91, "latent"), (74, "features"), (32, "features"), (15, "latent")):
        arrow(axes, [(84, y), (98, y)])
        axes.text(90.5, y + 1, text, fontsize=NOTE, ha="center", va="bottom")


def draw_codebook(axes: Axes) -> None:
    """Draw the codebook between the levels: latents in on the left, codes out on the right."""
    box(axes, (77, 45.5), (30, 15), CODES, "Codebook", ["nearest of 128 codes,", "the same for both levels"])
    for level, port in ((67, 55.5), (39, 50.5)):
        arrow(axes, [(70, level), (70, port), (77, port)], CODES[1])
        arrow(axes, [(107, port), (117, port), (117, level)], CODES[1])
    axes.text(69, 53, "latent", fontsize=NOTE, ha="right", va="center", color=CODES[1])
    axes.text(118.5, 53, "code", fontsize=NOTE, ha="left", va="center", color=CODES[1])


def draw_memory(axes: Axes) -> None:
    """Draw the memory below the levels."""
    box(
        axes,
        (60, -13),
        (76, 11),
        PLAIN,
        "Memory",
        ["six scales, each forgotten at its own pace; fitted in closed form"],
    )
    arrow(axes, [(40.5, 33.5), (40.5, -7.5), (60, -7.5)])
    arrow(axes, [(136, -7.5), (177, -7.5), (177, 8)])


def draw_output(axes: Axes) -> None:
    """Draw the gate, the warp and the forecast."""
    box(axes, (142, 43), (20, 20), PLAIN, "Gate", ["weighs sources", "by confidence,", "cell by cell"])
    arrow(axes, [(136, 74), (152, 74), (152, 63)], GLOBAL[1])
    arrow(axes, [(136, 32), (152, 32), (152, 43)], LOCAL[1])
    box(axes, (167, 8), (20, 90), PLAIN, "", [])
    axes.text(177, 93, "Carry", fontsize=TITLE, weight="bold", ha="center", va="center")
    lines = ((84, "flow = global\n+ local"), (70, "trajectories:\nback along it,\nlead by lead"))
    for y, text in (
        *lines,
        (53, "last frame\n+ memory\n+ source"),
        (32, "interpolated\nonce per lead:\nnothing blurs\nstep by step"),
    ):
        axes.text(177, y, text, fontsize=NOTE, ha="center", va="center", linespacing=1.3)
    arrow(axes, [(136, 91), (167, 91)], GLOBAL[1])
    arrow(axes, [(136, 15), (167, 15)], LOCAL[1])
    for y, text in ((91, "flow"), (74, "source"), (32, "source"), (15, "correction")):
        axes.text(140, y + 1, text, fontsize=NOTE, va="bottom")
    arrow(axes, [(162, 53), (167, 53)])
    arrow(axes, [(187, 53), (192, 53)])
    stack(axes, (192, 47), [blobs(time) for time in (3, 2, 1)], size=11)
    caption(axes, (199, 43.5), "forecast,\nany number\nof leads")


def blobs(time: float, size: int = 96) -> Float[np.ndarray, "h w"]:
    """Return a made-up field of drifting blobs, 0 to about 1; NaN where there is nothing."""
    rng = np.random.default_rng(5)
    centres, widths, heights = rng.uniform(0.16, 0.84, (9, 2)), rng.uniform(0.04, 0.12, 9), rng.uniform(0.3, 1, 9)
    rows, columns = np.mgrid[:size, :size] / size
    distances = [(rows - y - 0.02 * time) ** 2 + (columns - x - 0.04 * time) ** 2 for x, y in centres]
    parts = zip(heights, distances, widths, strict=True)
    field = np.sum([height * np.exp(-distance / width**2) for height, distance, width in parts], axis=0)
    return np.where(field < 0.06, np.nan, field)


def stack(axes: Axes, corner: Place, maps: Sequence[np.ndarray], *, size: float) -> None:
    """Draw maps one before the other, the last in front with its lower left at `corner`."""
    colours = ramp().with_extremes(bad="white")
    for layer, field in enumerate(maps, start=3):
        offset = 1.5 * (len(maps) + 2 - layer)
        left, bottom = corner[0] + offset, corner[1] + offset
        extent = (left, left + size, bottom, bottom + size)
        axes.imshow(field, cmap=colours, vmin=0, vmax=1.1, extent=extent, zorder=layer, aspect="auto")
        axes.add_patch(Rectangle((left, bottom), size, size, fill=False, edgecolor=INK, lw=0.8, zorder=layer))
    axes.set(xlim=(0, WIDTH), ylim=(BOTTOM, TOP))  # which imshow has changed


def caption(axes: Axes, top: Place, text: str) -> None:
    """Write centred lines below a place."""
    axes.text(*top, text, fontsize=NOTE, ha="center", va="top", linespacing=1.3)


def box(axes: Axes, corner: Place, size: Place, colours: tuple[str, str], title: str, notes: list[str]) -> None:
    """Draw a box with a title and notes, all centred."""
    fill, edge = colours
    style = "round,pad=0,rounding_size=1.2"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=fill, edgecolor=edge, lw=1.2, zorder=2))
    x, y = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    top = y + 2.0 * len(notes)
    if title:
        axes.text(x, top, title, fontsize=TITLE, weight="bold", ha="center", va="center", zorder=4)
    for index, note in enumerate(notes, start=1):
        axes.text(x, top - 0.6 - 3.8 * index, note, fontsize=NOTE, ha="center", va="center", zorder=4)


def arrow(axes: Axes, points: list[Place], colour: str = INK) -> None:
    """Draw a line through the points with a head at the last."""
    x, y = zip(*points, strict=True)
    axes.plot(x[:-1], y[:-1], color=colour, lw=1.2, zorder=1, solid_capstyle="butt", solid_joinstyle="round")
    head = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", points[-1], points[-2], arrowprops=head, zorder=1)


if __name__ == "__main__":
    main()
