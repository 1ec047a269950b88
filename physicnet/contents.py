"""What the run of each stage holds in MLflow: told once, for the stage that runs and for the replay of its files.

A delivery is what the screen calls it and a request. Requests may be repeated: each looks at what the run has, sends
what is lacking and returns whether that was anything. Files are named by the options of the stage's command.
"""

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from physicnet.config import MachineConfig, Section
from physicnet.fields import Field
from physicnet.lineage import StageEntry, md5_of
from physicnet.story import observations, results_summary, training_summary
from physicnet.tracking import executions, holdings, pictures
from physicnet.tracking.holdings import Metric, flatten
from physicnet.tracking.pictures import Picture
from physicnet.tracking.store import Store

Delivery = tuple[str, Callable[[], bool]]


@dataclass(frozen=True)
class Contents:
    """The options whose paths the run of one stage shows."""

    files: tuple[str, ...]  # kept
    record: str | None = None  # whose parts, as the option `statistics` tells them, are read
    parts: tuple[str, ...] = ()
    history: str | None = None  # a row for each epoch
    results: str | None = None  # the folder of an evaluation, of the options `checkpoint` and `metrics`

    @property
    def options(self) -> set[str]:
        """All of them."""
        beside = {"statistics"} if self.record else set()
        beside |= {"checkpoint", "metrics"} if self.results else set()
        return beside | {*self.files, *filter(None, (self.record, self.history, self.results))}


CONTENTS = {
    "ingest": Contents(("catalogue",)),
    "normalize": Contents(("statistics",)),
    "crops": Contents(("crops", "figure")),
    "codebook": Contents(("codebook", "history"), "normalized", ("train", "validation"), history="history"),
    "train": Contents(("checkpoint", "history"), "normalized", ("train", "validation"), history="history"),
    "evaluate": Contents(("metrics",), "fields", ("test",), results="results"),
}


class StageRun:
    """The run of a stage: one that is mirrored while it works, or one that is made from its files."""

    store: Store
    stage: str
    paths: Mapping[str, Path]  # by option
    sections: Mapping[str, Section]  # the parameters that the stage reads, by their names in params.yaml
    entry: StageEntry | None  # what dvc.lock says of it; None outside DVC
    run_id: str
    parent_id: str  # its execution
    is_latest: bool  # no other evaluation can be later, so this one takes the place of what another one left


def inputs(run: StageRun) -> Iterator[Delivery]:
    """What a run holds from its beginning: parameters, what it reads, the runs that made its inputs."""
    params = flatten({name: section.model_dump() for name, section in run.sections.items()}, ".")
    yield "the run", lambda: holdings.log_params(run.store, run.run_id, params)
    if run.entry is not None:
        yield "the runs before", partial(_link_inputs, run, run.entry.data)
    for part in CONTENTS[run.stage].parts:
        yield f"the {part} part", partial(_log_input, run, part)


def outputs(run: StageRun) -> Iterator[Delivery]:
    """What a run holds when its files are written, except the values of its epochs."""
    contents = CONTENTS[run.stage]
    for option in contents.files:
        yield str(run.paths[option]), partial(_keep, run, run.paths[option])
    if contents.history is not None:
        history = run.paths[contents.history]
        yield "the summary", lambda: holdings.describe(run.store, run.run_id, training_summary(history))
    if contents.results is not None:
        now = int(time.time() * 1000)  # milliseconds, MLflow's unit
        yield "the model in the registry", lambda: _offer(run)
        yield "the test scores", lambda: _log_scores(run, now)
        yield "the test scores and figures on the training's run", lambda: _log_on_training(run, now)
        yield "the test scores on the execution", lambda: _log_on_execution(run, now)


def _link_inputs(run: StageRun, data: Mapping[str, str]) -> bool:
    return executions.link_inputs(run.store, run.run_id, data)


def _keep(run: StageRun, path: Path) -> bool:
    return holdings.keep(run.store, run.run_id, path)


def _log_input(run: StageRun, part: str) -> bool:
    record = run.paths[CONTENTS[run.stage].record or ""]
    known = {} if run.entry is None else run.entry.deps
    digest = known.get(record.as_posix()) or md5_of(record)
    return holdings.log_input(run.store, run.run_id, observations(record, run.paths["statistics"], part), digest)


def _trained(run: StageRun) -> str | None:
    """The run that made the checkpoint, if it is known."""
    checkpoint = run.paths["checkpoint"]
    found = run.store.find({f"dvc.out.{checkpoint}": md5_of(checkpoint)})
    return None if found is None else str(found.info.run_id)


def _offer(run: StageRun) -> bool:
    """Log the model on the run that trained it, and register it; as the challenger, if that is what it is."""
    from physicnet import served  # with torch, which the evaluation has imported

    trained, machine = _trained(run), run.sections["machine"]
    assert isinstance(machine, MachineConfig)
    if trained is None:
        return False
    record = Field.open(run.paths["fields"])
    return served.offer(run.store, trained, run.paths["checkpoint"], record, machine, is_challenger=run.is_latest)


def _log_scores(run: StageRun, now: int) -> bool:
    """Log the test results; the baselines' scores are logged here alone: a comparison of models would be full of them.

    `metrics` is the nested JSON of means over leads, `results` the folder with the tables `scores.csv` (a row per
    model, variable and lead) and `origins.csv`, the figures, and the pictures of a forecast in `frames`.
    """
    results = run.paths["results"]
    metrics = read_means(run.paths["metrics"]) + read_scores(results / "scores.csv")
    return any(
        [
            holdings.add_metrics(run.store, run.run_id, metrics, now),
            holdings.describe(run.store, run.run_id, results_summary(results)),
            holdings.keep(run.store, run.run_id, results / "scores.csv"),
            _tell(run, run.run_id),
        ]
    )


def _log_on_training(run: StageRun, now: int) -> bool:
    trained, results = _trained(run), run.paths["results"]
    if trained is None or not _may_tell(run, trained):
        return False
    return any(
        [
            holdings.add_metrics(run.store, trained, _of_the_model(run), now),
            holdings.add_description(run.store, trained, results_summary(results)),
            holdings.keep(run.store, trained, results / "scores.csv"),
            _tell(run, trained),
        ]
    )


def _log_on_execution(run: StageRun, now: int) -> bool:
    if not _may_tell(run, run.parent_id):
        return False
    return any(
        [
            holdings.add_metrics(run.store, run.parent_id, _of_the_model(run), now),
            holdings.describe(run.store, run.parent_id, results_summary(run.paths["results"])),
            _tell(run, run.parent_id),
        ]
    )


def _may_tell(run: StageRun, run_id: str) -> bool:
    """Whether the results of this evaluation belong on a run that may have those of another one."""
    return run.is_latest or not holdings.keeps_another(run.store, run_id, run.paths["results"] / "origins.csv")


def _tell(run: StageRun, run_id: str) -> bool:
    """Show results on a run: every origin's, the figures, a forecast lead by lead."""
    results = run.paths["results"]
    sent = [
        holdings.keep(run.store, run_id, results / "origins.csv"),
        holdings.keep(run.store, run_id, results / "figures"),
    ]
    return any([*sent, pictures.show(run.store, run_id, results / "frames", read_pictures(results / "frames"))])


def read_pictures(frames: Path) -> list[Picture]:
    """The pictures `<variable>/lead_<number>.png` of a folder as series `forecast/<variable>`, by that number."""
    return [
        (f"forecast/{file.parent.name}", int(file.stem.removeprefix("lead_")), file)
        for file in sorted(frames.glob("*/lead_*.png"))
    ]


def read_means(path: Path) -> list[Metric]:
    """The leaves of metrics.json as metrics `test/<model>/<variable>/<score>`."""
    leaves = flatten(json.loads(path.read_text(encoding="utf-8")), "/")
    return [(f"test/{name}", float(value), 0) for name, value in leaves.items() if _is_finite(value)]


def read_scores(path: Path) -> list[Metric]:
    """The table of scores as metrics `test by lead/<model>/<variable>/<score>`, by the lead in minutes.

    Where minutes are not whole, it is counted in steps, as MLflow counts in whole numbers. A score that does not exist
    at a lead (an event that never happened) is left out.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = ("model", "variable", "lead", "lead_minutes")
    unit = "lead_minutes" if all(float(row["lead_minutes"]).is_integer() for row in rows) else "lead"
    return [
        (f"test by lead/{row['model']}/{row['variable']}/{name}", float(value), int(float(row[unit])))
        for row in rows
        for name, value in row.items()
        if name not in keys and _is_finite(value)
    ]


def read_epochs(path: Path) -> list[Metric]:
    """The rows of a training's history as metrics, with the epoch as their step; what was not finite is NaN or inf."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(name, float(value or "nan"), round(float(row["epoch"]))) for row in rows for name, value in row.items()]


def _of_the_model(run: StageRun) -> list[Metric]:
    """The test scores without the baselines': the table of scores begins with the model."""
    means, by_lead = read_means(run.paths["metrics"]), read_scores(run.paths["results"] / "scores.csv")
    model = by_lead[0][0].split("/")[1] if by_lead else ""
    return [metric for metric in means + by_lead if metric[0].split("/")[1] in {model, "headline"}]


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
