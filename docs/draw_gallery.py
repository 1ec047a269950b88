"""Draw a case of a data set for the gallery: python docs/draw_gallery.py PROJECT NAME

PROJECT is a folder in which the six stages have run. The case is the middle origin of the test part, as in the figures
of the stage evaluate: what was observed, what is forecast from the frame on the left, and the difference, at three
leads; on the left the flow that the model sees, and the codes that it reads the frame as. Writes docs/gallery/NAME.png,
in 256 colours to be small, and prints the errors beside those of persistence.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from physicnet.config import load_params
from physicnet.drawing import MISSING, draw_image, drawing_style, observed_box, save
from physicnet.evaluation import labels
from physicnet.evaluation.atlas import draw_codes, ranked
from physicnet.evaluation.figures import Map, colour_bar, draw_arrows, draw_map, frame_rmse
from physicnet.evaluation.gallery import chart_of
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scoring import Case, forecast_case
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.verify import read_starts
from physicnet.fields import Field, written_whole
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer

FOLDER = Path(__file__).parent / "gallery"
LEADS = 3  # that are shown, evenly spread
SIDE = 1.75  # inches, of a frame


def main(project: Path, name: str) -> None:
    """Forecast, draw and write."""
    params, data = load_params(project / "params.yaml"), project / "data"
    normalizer = Normalizer.load(data / "statistics.json", data / "maps.safetensors")
    model = ModelForecaster.load(project / "models" / "model.safetensors", params.machine)
    starts = read_starts(data / "crops.csv")
    record = Field.open(data / "fields.zarr")
    splits = json.loads((data / "statistics.json").read_text(encoding="utf-8"))["splits"]
    baselines = build_baselines([], TrainingPart(record, splits["train"], params.clip), normalizer)
    case = forecast_case([model, *baselines], record, starts[len(starts) // 2], params.clip)
    explained = model.explain(case.past)
    chart = chart_of(case.past, 0, case.truth[:, 0], normalizer)
    write(case_figure(case, chart, explained["flow"], explained["codes"]), FOLDER / f"{name}.png")
    for forecaster, frames in case.forecasts.items():
        errors = [
            frame_rmse(frames[lead - 1, 0], case.truth[lead - 1, 0]) for lead in labels.spread(len(frames), LEADS)
        ]
        print(f"{name}: RMSE of {forecaster}", *(f"{error:.3g}" for error in errors))


def case_figure(case: Case, chart: Map, flow: np.ndarray, codes: np.ndarray) -> Figure:
    """Draw the first variable of a case."""
    model = next(iter(case.forecasts))
    last = case.past.frames(case.past.shape[0] - 1, case.past.shape[0])[0, 0]
    chosen = np.array(labels.spread(len(case.truth), LEADS)) - 1
    truth, forecast = (frames[chosen, 0] for frames in (case.truth, case.forecasts[model]))
    errors = Normalize(*(np.array([-1, 1]) * np.nanquantile(np.abs(forecast - truth), 0.999)))
    box = observed_box(np.concatenate([last[None], truth]))
    height, width = last[box].shape
    with drawing_style():
        figure = Figure((SIDE * 4 + 1.9, SIDE * chart.aspect * height / width * 3 + 0.5), layout="constrained")
        grid = figure.subplots(3, 1 + len(chosen), squeeze=False)
        draw_map(grid[0, 0], last[box], chart)
        draw_map(grid[1, 0], last[box], chart)
        draw_arrows(grid[1, 0], flow[:, box[0], box[1]], np.isfinite(last[box]))
        draw_codes(grid[2, 0], ranked(codes, last)[0], chart)
        for axes, text in zip(grid[:, 0], (labels.origin(case.past), "flow", "codes"), strict=True):
            axes.set_title(text)
        for column, lead in enumerate(chosen, 1):
            step = float(case.past.step / np.timedelta64(1, "m"))
            grid[0, column].set_title("+" + labels.lead((lead + 1) * step))
            draw_map(grid[0, column], truth[column - 1][box], chart)
            draw_map(grid[1, column], np.where(np.isnan(truth), np.nan, forecast)[column - 1][box], chart)
            difference = (forecast - truth)[column - 1][box]
            image_style = {"cmap": colormaps["RdBu_r"].with_extremes(bad=MISSING), "norm": errors}
            draw_image(grid[2, column], difference, chart, **image_style)
        for axes, text in zip(grid[:, 1], ("Observed", "PhysicNet", "Difference"), strict=True):
            axes.set_ylabel(text, fontsize=10)
        colour_bar(figure, grid[:2], chart)
        bar = figure.colorbar(ScalarMappable(errors, colormaps["RdBu_r"]), ax=grid[2], shrink=0.9, aspect=14, pad=0.015)
        bar.outline.set_visible(False)
    return figure


def write(figure: Figure, path: Path) -> None:
    """Write a figure with few colours."""
    path.parent.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        save(figure, Path(folder) / "case.png")
        with Image.open(Path(folder) / "case.png") as drawn, written_whole(path) as partial:
            small = drawn.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            small.save(partial, format="PNG", optimize=True)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
