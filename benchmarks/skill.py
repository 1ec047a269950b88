"""Which model forecasts best? PhysicNet, learned peers and classical methods on the same data, by the same scores.

    python benchmarks/skill.py temperature --seeds 3 --minutes 10
    python benchmarks/skill.py knmi --seeds 3 --minutes 10
    python benchmarks/skill.py gray-scott --seeds 3 --minutes 10 --data FOLDER    # any set of sets/, see docs/sets.md
    python benchmarks/skill.py radar --seeds 3 --minutes 10 --data FOLDER    # of the FMI events: see skill_data.py
    python benchmarks/skill.py fmi_to_knmi --seeds 3 --steps 200 --data FOLDER    # one event against another

PhysicNet, U-Net, ConvLSTM and SimVP (gSTA) train on the same clips and masks, with the same augmentation, loss, batches
and budget, and keep the weights that validate best; "memory" is PhysicNet with its memory fitted, nothing trained, and
no caution (decision 33). Then all, learned, fitted or neither, forecast from the same origins and are scored where the
truth was observed. Training events never hold a frame that tests; what classical methods choose, they choose on
training frames.

Trained models and sums of scores stay in .physicnet/benchmarks/skill/: an interrupted command goes on where it was, and
a second one prints what is there. `--only NAME` works on some models alone; tables and figure show all that is done.
`-S NAME=VALUE` adds an override to those of a set, with `--results` for another folder than docs/results.
Needs the extra for radar: pip install -e '.[baselines]'. Writes docs/results/skill_DATASET.csv (every model, seed, lead
and score), skill_DATASET_pairs.csv (intervals, paired with PhysicNet), skill_DATASET.png and, of sets whose literature
has scores of its own (literature.py), skill_DATASET_literature.csv.
"""

import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import literature
import numpy as np
import pandas as pd
import skill_results
import torch
import typer
from rich.console import Console
from rich.progress import track
from skill_data import FOLDER, NAMES, Prepared, prepare
from skill_training import Budget, Trained, key, peers, train

import physicnet
from physicnet.config import ConfigError, MachineConfig
from physicnet.digest import content_hash
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scoring import Scoreboard, data_ranges, forecast_case
from physicnet.fields import DataError, written_whole
from physicnet.machine import describe
from physicnet.model.forecaster import Forecaster
from physicnet.model.sharp import Sharp

RESULTS = Path("docs/results")

console = Console(stderr=True)


def main(
    dataset: Annotated[str, typer.Argument(help=f"what to train and test on: {', '.join(NAMES)}")],
    data: Annotated[Path | None, typer.Option(help="folder of its files; by default of a set data/raw")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="trainings of each learned model")] = 3,
    minutes: Annotated[float, typer.Option(min=0.0, help="of training steps, for each")] = 10.0,
    steps: Annotated[int | None, typer.Option(min=1, help="training steps instead of minutes")] = None,
    only: Annotated[list[str] | None, typer.Option(help="a model to work on; may be given several times")] = None,
    learning_rate: Annotated[float, typer.Option(help="highest, of the peers")] = 1e-3,
    settings: Annotated[
        list[str] | None,
        typer.Option("-S", metavar="NAME=VALUE", help="an override after the set's, as of `dvc exp run`"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="in place of machine.device of params.yaml")] = None,
    results: Annotated[Path, typer.Option(help="folder to write to")] = RESULTS,
) -> None:
    """Train and score what is not done yet; print and write everything that is."""
    if settings and results == RESULTS:
        raise typer.BadParameter(
            f"{results} has the results of the set as it is; give --results another folder with -S"
        )
    prepared = _on(prepare(dataset, data, settings or ()), device)
    budget = Budget(minutes, steps, learning_rate)
    models = ["physicnet", "memory", *peers(prepared)]
    _check(only, [*models, *prepared.baselines])
    scored = f"sums-{_scoring_key(prepared)}.csv"
    learned = {
        (name, seed): FOLDER / dataset / f"{name}-{seed}-{key(name, seed, prepared, budget)}" / scored
        for seed in range(seeds)
        for name in models
    }
    for (name, seed), target in learned.items():
        if (only is None or name in only) and not target.is_file():
            _score_learned(name, seed, prepared, budget, target)
    classical = {name: FOLDER / dataset / name / scored for name in prepared.baselines}
    for name, target in classical.items():
        if (name == "persistence" or only is None or name in only) and not target.is_file():
            _score_classical(name, prepared, target)
    targets = [*learned.values(), *classical.values()]
    done = pd.concat([pd.read_csv(target) for target in targets if target.is_file()], ignore_index=True)
    _report(done, dataset, prepared, budget, settings or [], results)


def _on(prepared: Prepared, device: str | None) -> Prepared:
    machine: MachineConfig = prepared.params.machine
    torch.set_num_threads(machine.num_threads)
    if device is None:
        return prepared
    params = prepared.params.model_copy(update={"machine": machine.model_copy(update={"device": device})})
    return replace(prepared, params=params)


def _check(only: list[str] | None, known: list[str]) -> None:
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no such model; there are {', '.join(known)}")


def _score_learned(name: str, seed: int, prepared: Prepared, budget: Budget, target: Path) -> None:
    console.print(f"{name}, seed {seed}")
    trained: Trained = train(name, seed, prepared, budget, target.parent)
    extra = {
        "parameters": trained.parameters,
        "steps": trained.steps,
        "train_seconds": trained.seconds,
        "validation_loss": trained.validation_loss,
    }
    forecasters = [trained.forecaster, *([Sharp(trained.forecaster)] if name == "physicnet" else [])]
    _keep(pd.concat(_sums(each, prepared) for each in forecasters).assign(seed=seed, **extra), prepared, target)


def _score_classical(name: str, prepared: Prepared, target: Path) -> None:
    console.print(name)
    started = time.perf_counter()
    model = build_baselines([name], prepared.training, prepared.inputs.normalizer)[-1]
    extra = {"parameters": 0, "steps": 0, "train_seconds": time.perf_counter() - started, "validation_loss": np.nan}
    _keep(_sums(model, prepared).assign(seed=0, **extra), prepared, target)


def _sums(forecaster: Forecaster, prepared: Prepared) -> pd.DataFrame:
    """Forecast from every origin and return the sums of each, with the mean time of a forecast."""
    scoreboard = Scoreboard(prepared.params.evaluate, data_ranges(prepared.inputs.normalizer))
    told = []
    seconds = 0.0
    for start in track(prepared.starts, f"forecasts of {forecaster.name}", console=console):
        started = time.perf_counter()
        case = forecast_case([forecaster], prepared.record, start, prepared.params.clip)
        seconds += time.perf_counter() - started
        scoreboard.add(case)
        if prepared.literature:
            told.append(literature.sums_of(prepared.literature, case))
    sums = scoreboard.sums().merge(pd.concat(told), on=literature.KEYS) if told else scoreboard.sums()
    return sums.assign(forecast_seconds=seconds / len(prepared.starts))


def _keep(sums: pd.DataFrame, prepared: Prepared, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as partial:
        sums.assign(machine=describe(prepared.params.machine)).to_csv(partial, index=False)


def _scoring_key(prepared: Prepared) -> str:
    """Hash of the data and of the code that fits classical methods, forecasts with them and scores."""
    package = Path(physicnet.__path__[0])
    code = [*sorted((package / "evaluation").glob("*.py")), package / "metrics.py", Path(literature.__file__)]
    content = [
        *(content_hash(file) for file in [*prepared.files, *code]),
        prepared.params.clip.model_dump_json(),
        prepared.params.evaluate.model_dump_json(),
        repr(prepared.starts),
    ]
    return sha256("".join(content).encode()).hexdigest()[:16]


EXTRA = ["parameters", "steps", "train_seconds", "validation_loss", "forecast_seconds", "machine"]


def _report(
    done: pd.DataFrame, dataset: str, prepared: Prepared, budget: Budget, settings: list[str], results: Path
) -> None:
    config = prepared.params.evaluate
    extra = done.groupby(["model", "seed"], sort=False)[EXTRA].first().reset_index()
    sums = done.drop(columns=EXTRA)
    scores = skill_results.per_seed(sums, config).merge(extra, on=["model", "seed"])
    compared = skill_results.pairs(sums, config)
    skill_results.write(scores, results / f"skill_{dataset}.csv")
    skill_results.write(compared, results / f"skill_{dataset}_pairs.csv")
    length = f"{budget.minutes:g} minutes" if budget.steps is None else f"{budget.steps} steps"
    title = f"{' '.join([dataset, *settings])}: {len(prepared.starts)} forecasts, {length} of training, seeds: "
    title += str(sums["seed"].nunique())
    skill_results.draw(scores, results / f"skill_{dataset}.png", title)
    skill_results.show(sums, compared, config, Console())
    ends = [".csv", "_pairs.csv", ".png"]
    if prepared.literature:
        theirs = literature.scores_of(prepared.literature, sums)
        skill_results.write(theirs, results / f"skill_{dataset}_literature.csv")
        Console().print(skill_results.literature_table(theirs, dataset))
        ends.append("_literature.csv")
    Console().print(skill_results.cost_table(extra))
    print(f"Every lead, score and seed, in {results}: {', '.join(f'skill_{dataset}{end}' for end in ends)}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (DataError, ConfigError) as error:
        console.print(f"Error: {error}", markup=False, soft_wrap=True)
        raise SystemExit(1) from None
