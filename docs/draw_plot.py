"""Draw a forecast for the documentation: python docs/draw_plot.py FORECAST OBSERVATIONS NAME

Draws what `physicnet plot FORECAST --observations OBSERVATIONS` does, by the params.yaml of the current folder, and
writes the picture of the first variable to docs/figures/NAME.png, in 256 colours to be small.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from physicnet.config import load_params
from physicnet.fields import written_whole
from physicnet.plotting.plot import plot

FIGURES = Path(__file__).parent / "figures"


def main(forecast: Path, observations: Path, name: str) -> None:
    """Draw the forecast and write its picture."""
    target = FIGURES / f"{name}.png"
    with TemporaryDirectory() as folder:
        picture, *_ = plot(forecast, Path(folder), [observations], load_params(Path("params.yaml")).ingest).files
        with Image.open(picture) as drawn, written_whole(target) as partial:
            # By default Pillow merges rare colours, such as the upper classes of a scale.
            small = drawn.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            small.save(partial, format="PNG", optimize=True)
    print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
