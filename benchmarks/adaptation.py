"""What does it bring, and cost, to keep a model up to date as new frames arrive hour by hour?

    python benchmarks/adaptation.py                                  # the budget of params.yaml
    python benchmarks/adaptation.py --epochs 1 --steps 10 --apart 3  # a smaller one; every third forecast

A model is trained on the first hours of the record that `dvc repro ingest` wrote. Then, hour after hour, every model
forecasts the hour's frames as they arrive, knowing only what came before the hour, and then learns from them:

| model | each hour |
|---|---|
| frozen | stays as it was trained at first |
| adapted | starts from itself, `train.learns: fusion`: codebook, memory and confidences follow, a few steps |
| continued | starts from itself, `train.learns: all`, as many steps |
| retrained | from nothing, with the whole budget, the codebook's pretraining included |

The normalisation, the training clips and the climatology are of all frames known by then. The epoch is chosen by the
newest clip known, which training sees too: it is there to find a training that went wrong. Of the test part of
params.yaml no frame is read.

What is done is kept in .physicnet/benchmarks/adaptation/ under the hash of data, parameters and code: run it again to
go on. Writes docs/results/adaptation.csv and docs/figures/adaptation.png.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from safetensors.numpy import save_file

from physicnet.config import InitConfig, Params, TrainConfig, load_params
from physicnet.data.crops import draw_crops
from physicnet.data.normalize import describe, split, without_gaps, write_standardized
from physicnet.data.statistics import fit
from physicnet.data.workers import Here
from physicnet.digest import content_hash
from physicnet.drawing import drawing_style, save
from physicnet.evaluation import pooling
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scoring import Scoreboard, data_ranges, forecast_case
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import Field, Segments, written_whole
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer
from physicnet.training.inputs import key_of
from physicnet.training.joint import train
from physicnet.training.pretraining import pretrain

FIELDS = Path("data/fields.zarr")
KEPT = Path(".physicnet/benchmarks/adaptation")
TABLE = Path("docs/results/adaptation.csv")
FIGURE = Path("docs/figures/adaptation.png")
MODELS = ("frozen", "adapted", "continued", "retrained")
RIVALS = ("persistence", "advection")
COLOURS = {
    "persistence": "#9a9a9a",
    "advection": "#555555",
    "frozen": "#0072b2",
    "adapted": "#d55e00",
    "continued": "#e69f00",
    "retrained": "#009e73",
}


@dataclass(frozen=True)
class Cost:
    """What it took to have a model at the beginning of an hour."""

    seconds: float
    cpu_seconds: float
    steps: int


@dataclass(frozen=True)
class Hour:
    """The frames known at its beginning, and the first frames of the forecasts that are issued in it."""

    number: int
    known: int
    starts: list[int]


def hours(first: int, apart: int, num_frames: int, step_minutes: float, params: Params) -> list[Hour]:
    """Cut the record: the last observed frame of a forecast is the last known one, or one of the hour's own."""
    per_hour = round(60 / step_minutes)
    found = []
    for number, known in enumerate(range(first, num_frames, per_hour)):
        begin = known - params.clip.frames_in
        end = min(begin + per_hour, num_frames - params.clip.frames + 1)
        if begin < end:
            found.append(Hour(number, known, list(range(begin, end, apart))))
    return found


def prepare(record: Field, params: Params, folder: Path) -> dict[str, Path]:
    """Write what the data stages would write of a record that ends here, all of which trains."""
    names = ("normalized.zarr", "statistics.json", "maps.safetensors", "crops.csv")
    paths = {name.partition(".")[0]: folder / name for name in names}
    if paths["crops"].is_file():
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    end = record.shape[0]
    splits: dict[str, Segments] = {
        "train": without_gaps(record, 0, end),
        "validation": [[end - params.clip.frames, end]],
        "test": [[end, end]],
    }
    workers = Here()
    budget = workers.budget(params.ingest.memory_bytes, fit)
    normalizer = fit(record, splits["train"], params.normalize, budget=budget, workers=workers)
    described = describe(record, splits, normalizer, params.ingest)
    paths["statistics"].write_text(json.dumps(described), encoding="utf-8")
    save_file(normalizer.maps(), paths["maps"])
    with written_whole(paths["normalized"]) as store:
        write_standardized(record, normalizer, store, budget, workers)
    inputs = {name: paths[name] for name in ("normalized", "statistics", "crops")}
    draw_crops(params.crops, params.clip, **inputs, figure=folder / "crops.png")
    return paths


@dataclass(frozen=True)
class Workshop:
    """Makes the models of an hour, unless they are there already."""

    params: Params
    few: TrainConfig  # of the models that start from themselves
    folder: Path

    def checkpoint(self, model: str, hour: Hour) -> Path:
        """Where a model of an hour is; all are the same in the first, and the frozen one in every."""
        first = hour.number == 0 or model == "frozen"
        return self.folder / ("first" if first else f"{model}-{hour.number}") / "model.safetensors"

    def make(self, model: str, hour: Hour, before: Hour | None, data: dict[str, Path]) -> Cost:
        """Train or adapt; the cost is of the hour that did it, and of an interrupted training only what came after."""
        target = self.checkpoint(model, hour)
        if before is not None and model == "frozen":
            return Cost(0.0, 0.0, 0)
        told = target.with_name("cost.json")
        if not told.is_file():
            begun = time.monotonic(), time.process_time()
            steps = self._learn(model, before, target, data)
            cost = Cost(time.monotonic() - begun[0], time.process_time() - begun[1], steps)
            told.write_text(json.dumps(asdict(cost)), encoding="utf-8")
        return Cost(**json.loads(told.read_text(encoding="utf-8")))

    def _learn(self, model: str, before: Hour | None, target: Path, data: dict[str, Path]) -> int:
        if before is None or model == "retrained":
            return self._pretrain(target, data) + self._train(self.params.train, target, target.parent, data)
        earlier = self.checkpoint(model, before)
        init = InitConfig(checkpoint=str(earlier), sha256=content_hash(earlier))
        learns = {"adapted": "fusion", "continued": "all"}[model]
        few = self.few.model_copy(update={"init_from": init, "learns": learns})
        return self._train(few, target, self.checkpoint("frozen", before).parent, data)

    def _pretrain(self, target: Path, data: dict[str, Path]) -> int:
        config, sections = self.params.codebook, (self.params.clip, self.params.model, self.params.machine)
        pretrain(config, *sections, **data, **self._outputs("codebook", target.parent, target.parent))
        return config.epochs * config.steps_per_epoch

    def _train(self, config: TrainConfig, target: Path, codes: Path, data: dict[str, Path]) -> int:
        sections = (self.params.clip, self.params.model, self.params.machine, self.params.evaluate.thresholds)
        outputs = self._outputs("training", target.parent, codes)
        train(config, *sections, **data, checkpoint=target, **outputs)
        return config.epochs * config.steps_per_epoch

    @staticmethod
    def _outputs(stage: str, folder: Path, codes: Path) -> dict[str, Path | Callable[..., None]]:
        folder.mkdir(parents=True, exist_ok=True)
        return {
            "codebook": codes / "codebook.safetensors",
            "history": folder / f"{stage}.csv",
            "resume": folder / stage,
            "report": lambda *_: None,
        }


def score(record: Field, hour: Hour, workshop: Workshop, data: dict[str, Path]) -> pd.DataFrame:
    """Forecast the hour with every model, and return the scores over its forecasts."""
    params = workshop.params
    normalizer = Normalizer.load(data["statistics"], data["maps"])
    forecasters = build_baselines(RIVALS, TrainingPart(record, [[0, hour.known]], params.clip), normalizer)
    for name in MODELS if hour.number else ("frozen",):
        model = ModelForecaster.load(workshop.checkpoint(name, hour), params.machine)
        model.name = name
        forecasters.append(model)
    scoreboard = Scoreboard(params.evaluate, data_ranges(normalizer))
    for start in hour.starts:
        scoreboard.add(forecast_case(forecasters, record, start, params.clip))
    return pooling.pooled(scoreboard.sums(), params.evaluate)


def follow(record: Field, plan: list[Hour], workshop: Workshop) -> Iterator[pd.DataFrame]:
    """Go through the hours; give the scores of each, with the cost of each model."""
    before: Hour | None = None
    for hour in plan:
        known = workshop.folder / f"known-{hour.known}"
        data = prepare(record.isel(0, hour.known), workshop.params, known)
        models = MODELS if hour.number else ("frozen",)
        costs = {model: asdict(workshop.make(model, hour, before, data)) for model in models}
        path = known / "scores.csv"
        if not path.is_file():
            with written_whole(path) as partial:
                score(record, hour, workshop, data).to_csv(partial, index=False)
        costs_of = pd.DataFrame.from_dict(costs, orient="index").rename_axis("model").reset_index()
        scores = pd.read_csv(path).merge(costs_of, on="model", how="left")
        scores.insert(0, "hour", hour.number + 1)
        scores.insert(1, "known_frames", hour.known)
        scores.insert(2, "forecasts", len(hour.starts))
        yield scores
        before = hour


def draw(scores: pd.DataFrame, budget: str) -> Figure:
    """Draw a column per hour: the RMSE by lead, its share of advection's, and what each model cost."""
    numbers = sorted(scores["hour"].unique())
    figure = Figure(figsize=(3.1 * len(numbers) + 0.6, 7.2), layout="constrained")
    axes = figure.subplots(3, len(numbers), squeeze=False, sharey="row", height_ratios=(3, 3, 2))
    for column, number in zip(axes.T, numbers, strict=True):
        rows = scores[scores["hour"] == number]
        known, forecasts = rows[["known_frames", "forecasts"]].iloc[0]
        column[0].set(title=f"hour {number}: {forecasts} forecasts,\n{known} frames known")
        _draw_errors(column[0], column[1], rows)
        _draw_costs(column[2], rows)
    axes[0, 0].set(ylabel=f"RMSE ({scores['units'].iloc[0]})", ylim=(0, None))
    axes[1, 0].set(ylabel="RMSE / advection's")
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS))
    figure.suptitle(budget, x=0.01, ha="left", fontsize="medium")
    return figure


def _draw_errors(absolute: Axes, relative: Axes, rows: pd.DataFrame) -> None:
    rival = rows.loc[rows["model"] == "advection", "rmse"].to_numpy()
    for name, mine in rows.groupby("model", sort=False):
        look = {"color": COLOURS[str(name)], "ls": "--" if name in RIVALS else "-", "label": str(name)}
        absolute.plot(mine["lead_minutes"], mine["rmse"], **look)
        if name != "persistence":  # far above
            relative.plot(mine["lead_minutes"], mine["rmse"] / rival, **look)
    for axes in (absolute, relative):
        axes.set(xlabel="lead (minutes)", xticks=range(0, int(rows["lead_minutes"].max()) + 1, 15))


def _draw_costs(axes: Axes, rows: pd.DataFrame) -> None:
    costs = rows.drop_duplicates("model").set_index("model")["cpu_seconds"].reindex(MODELS)
    axes.barh(costs.index, costs, height=0.6, color=[COLOURS[name] for name in costs.index])
    for index, seconds in enumerate(costs):
        text = "as the frozen one" if np.isnan(seconds) else f"{seconds:.0f} s"
        axes.annotate(f" {text}", (np.nan_to_num(seconds), index), va="center")
    axes.set(xlabel="processor time to learn (s)", ylim=(len(MODELS) - 0.5, -0.5))
    axes.margins(x=0.3)


def reduced(params: Params, epochs: int | None, steps: int | None) -> Params:
    """Return the parameters with another length of both trainings."""
    changes = {"epochs": epochs, "steps_per_epoch": steps}
    asked = {name: value for name, value in changes.items() if value is not None}
    sections = {name: getattr(params, name).model_copy(update=asked) for name in ("codebook", "train")}
    return params.model_copy(update=sections)


def main(
    epochs: Annotated[int | None, typer.Option(help="of each training; default: params.yaml")] = None,
    steps: Annotated[int | None, typer.Option(help="per epoch; default: params.yaml")] = None,
    few: Annotated[int, typer.Option(help="steps of the models that start from themselves")] = 10,
    first: Annotated[int, typer.Option(help="frames known at the beginning")] = 30,
    apart: Annotated[int, typer.Option(help="frames between the forecasts that are scored")] = 1,
    threads: Annotated[int | None, typer.Option(help="default: params.yaml")] = None,
) -> None:
    """Follow the record hour by hour, print, write and draw."""
    params = reduced(load_params(Path("params.yaml")), epochs, steps)
    if threads is not None:
        machine = params.machine.model_copy(update={"num_threads": threads})
        params = params.model_copy(update={"machine": machine})
    whole = Field.open(FIELDS)
    record = whole.isel(0, split(whole, params.normalize, params.clip)["test"][0][0])
    sections = {name: getattr(params, name) for name in type(params).model_fields}
    key = key_of(sections, [FIELDS])[:16]
    workshop = Workshop(
        params,
        params.train.model_copy(update={"epochs": 1, "steps_per_epoch": few}),
        KEPT / f"{key}-{first}-{few}-{apart}",
    )
    plan = hours(first, apart, record.shape[0], float(record.step / np.timedelta64(1, "m")), params)
    of_codes, of_train = (each.epochs * each.steps_per_epoch for each in (params.codebook, params.train))
    budget = f"trained for {of_codes} + {of_train} steps of {params.train.batch_size} clips, adapted for {few}"
    tables = []
    for scores in follow(record, plan, workshop):
        tables.append(scores)
        table = pd.concat(tables, ignore_index=True)
        with written_whole(TABLE) as partial:
            table.to_csv(partial, index=False, float_format="%.4g", lineterminator="\n")
        with drawing_style(), written_whole(FIGURE) as picture:
            save(draw(table, budget), picture)
        columns = ["model", "lead_minutes", "rmse", "mae", "cpu_seconds", "seconds"]
        shown = scores[scores["lead_minutes"].isin([5.0, 30.0, 60.0])][columns]
        Console().print(f"hour {len(tables)}:\n{shown.to_string(index=False)}", highlight=False)
    print(f"{budget}; every hour, lead and score: {TABLE}")


if __name__ == "__main__":
    typer.run(main)
