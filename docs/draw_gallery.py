"""Draw a case of a data set for the gallery: python docs/draw_gallery.py NAME DATA CHECKPOINT

NAME is a set of sets/, or radar; DATA the folder that the data stages wrote, data/ of a project or of
a benchmark (benchmarks/skill.py); CHECKPOINT the model. The case is the middle origin of the test part, as in the
figures of the stage evaluate: what was observed, what is forecast from the frame on the left, and the difference, at
three leads; on the left the flow that the model sees, and the codes that it reads the frame as. Writes
docs/gallery/NAME.png, in 256 colours to be small, the errors beside those of persistence to docs/gallery/errors.csv,
and from all that is there the page docs/gallery.md.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from physicnet.checkpoint import load_checkpoint
from physicnet.config import ClipConfig, load_params
from physicnet.drawing import MISSING, draw_image, drawing_style, observed_box, save
from physicnet.evaluation import labels
from physicnet.evaluation.atlas import draw_codes, ranked
from physicnet.evaluation.figures import Map, colour_bar, draw_arrows, draw_map, frame_rmse
from physicnet.evaluation.gallery import chart_of
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scoring import Case, forecast_case
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.verify import read_starts
from physicnet.fields import DataError, Field, written_whole
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer

DOCS = Path(__file__).parent
FOLDER, PAGE, SETS = DOCS / "gallery", DOCS / "gallery.md", DOCS.parent / "sets"
ERRORS, COLUMNS = FOLDER / "errors.csv", ["set", "variable", "units", "model", "lead", "rmse"]
BUNDLED = {
    "radar": ("Rain over the Netherlands", "The data: `data/raw` of this repository."),
    "temperature": ("Temperature over the United Kingdom", "The data: `data/raw` of this repository."),
}
TITLE = """# Gallery

One case of a data set each, made by `python docs/draw_gallery.py`: the middle forecast of the test part. Above
what was observed, below it what PhysicNet forecasts from the frame on the left, then the difference; on the
left the flow that the model sees, and the codes that it reads the frame as, the common ones dark. Models were
trained for one to five minutes on one core or two: the pictures show what a forecast looks like, the
[benchmarks](../benchmarks/README.md) how good it is."""
LEADS = 3  # that are shown, evenly spread
SIDE = 1.75  # inches, of a frame


def main(name: str, data: Path, checkpoint: Path) -> None:
    """Forecast, draw and write."""
    normalizer = Normalizer.load(data / "statistics.json", data / "maps.safetensors")
    model = ModelForecaster.load(checkpoint, load_params(DOCS.parent / "params.yaml").machine)
    clip = ClipConfig(**load_checkpoint(checkpoint).metadata["clip"])
    starts = read_starts(data / "crops.csv")
    record = Field.open(data / "fields.zarr")
    splits = json.loads((data / "statistics.json").read_text(encoding="utf-8"))["splits"]
    baselines = build_baselines([], TrainingPart(record, splits["train"], clip), normalizer)
    case = forecast_case([model, *baselines], record, starts[len(starts) // 2], clip)
    explained = model.explain(case.past)
    chart = chart_of(case.past, 0, case.truth[:, 0], normalizer)
    write(case_figure(case, chart, explained["flow"], explained["codes"]), FOLDER / f"{name}.png")
    known = pd.read_csv(ERRORS, dtype={"units": str}) if ERRORS.is_file() else pd.DataFrame(columns=COLUMNS)
    table = pd.concat([known[known["set"] != name], errors_of(case, name)], ignore_index=True)
    table = table.sort_values("set", kind="stable")
    for path, text in ((ERRORS, table.to_csv(index=False, float_format="%.3g")), (PAGE, page(table))):
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")


def errors_of(case: Case, name: str) -> pd.DataFrame:
    """The errors of the first variable of a case at the leads that are shown."""
    step = float(case.past.step / np.timedelta64(1, "m"))
    common = {"set": name, "variable": case.past.variables[0], "units": case.past.units[case.past.variables[0]]}
    rows = [
        common
        | {"model": model, "lead": labels.lead(lead * step)}
        | {"rmse": frame_rmse(frames[lead - 1, 0], case.truth[lead - 1, 0])}
        for model, frames in case.forecasts.items()
        for lead in labels.spread(len(frames), LEADS)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def page(errors: pd.DataFrame) -> str:
    """The gallery of all cases drawn so far."""
    return "\n\n".join([TITLE, *(section(str(name), rows) for name, rows in errors.groupby("set"))]) + "\n"


def told(name: str) -> tuple[str, str]:
    """What a set is of, and a sentence on where its data come from, as its first line has both.

    Raises:
        DataError: if there is neither such a set nor such bundled data.
    """
    if name in BUNDLED:
        return BUNDLED[name]
    described = SETS / f"{name}.txt"
    if not described.is_file():
        raise DataError(
            f"{name}: no such set; there are {', '.join([*BUNDLED, *(path.stem for path in SETS.glob('*'))])}"
        )
    what, how = described.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(": ", 1)
    return what, f"The data: `{how.removesuffix('docs/sets.md has the reasons.').strip().removesuffix('.')}`."


def section(name: str, errors: pd.DataFrame) -> str:
    """One case: what it is of, its figure and its errors."""
    what, made = told(name)
    first = errors.iloc[0]
    unit = f" ({first['units']})" if first["units"] != "1" else ""
    leads = list(dict.fromkeys(errors["lead"]))
    table = [
        f"| RMSE of {first['variable']}{unit} | {' | '.join(leads)} |",
        "|---|" + "--:|" * len(leads),
        *(
            f"| {labels.title(str(model))} | {' | '.join(f'{rmse:.3g}' for rmse in rows['rmse'])} |"
            for model, rows in errors.groupby("model", sort=False)
        ),
    ]
    return "\n\n".join([f"## {what}", made, f"![{what}](gallery/{name}.png)", "\n".join(table)])


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
        layout = ConstrainedLayoutEngine(rect=(0, 0, 0.98, 1))  # beside it, room for the digits of the colour bars
        figure = Figure((SIDE * 4 + 1.9, SIDE * chart.aspect * height / width * 3 + 0.5), layout=layout)
        grid = figure.subplots(3, 1 + len(chosen), squeeze=False)
        draw_map(grid[0, 0], last[box], chart)
        draw_map(grid[1, 0], last[box], chart)
        if flow.any():
            draw_arrows(grid[1, 0], flow[:, box[0], box[1]], np.isfinite(last[box]))
        draw_codes(grid[2, 0], ranked(codes, last)[0], chart)
        for axes, text in zip(
            grid[:, 0], (labels.origin(case.past), "flow" if flow.any() else "nothing is carried", "codes"), strict=True
        ):
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
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
