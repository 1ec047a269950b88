"""How good are the model's distributions beside ensembles? STEPS of pysteps, and a flow that is perturbed.

    python benchmarks/uncertainty.py

Needs the extra: pip install -e '.[baselines]'. Forecasts from every origin of the test part with the checkpoint of
`dvc repro`, and scores by the code of `evaluate`:

- `physicnet` and `persistence`, each calibrated by the validation part (`physicnet/calibration.py`);
- `steps`: pysteps' STEPS (Bowler, Pierce and Seed 2006), its own settings, the motion and the completed frames of the
  baselines Lucas-Kanade and S-PROG;
- `perturbed_flow`: the model's forecast, carried on by a random vector that grows with the lead and is the same
  everywhere, of the size that has the lowest CRPS on the validation part; without any calibration.

Prints the tables and writes docs/results/uncertainty.csv. An ensemble has as many members as a distribution has
quantiles; `fair_crps` is what one of infinitely many such members would have (Ferro 2014).
"""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage

from physicnet.calibration import LEVELS
from physicnet.config import ClipConfig, load_params
from physicnet.drawing import Grid
from physicnet.evaluation import labels
from physicnet.evaluation.baselines import Climatology, Persistence
from physicnet.evaluation.extrapolation import flow_images, last_frame
from physicnet.evaluation.nowcasting import DECIBEL, DECLUSTERING, INFLOW, ORDER, RAIN, import_pysteps
from physicnet.evaluation.probabilistic import INTERVALS, ProbabilityBoard, crps
from physicnet.evaluation.scoring import Case, forecast_case
from physicnet.evaluation.verify import calibrated, read_starts
from physicnet.fields import Field, written_whole
from physicnet.model.forecaster import Forecaster
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer

DATA, MODEL = Path("data"), Path("models/model.safetensors")
TARGET = Path("docs/results/uncertainty.csv")
SIZES = (0.4, 0.8, 1.6, 3.2, 6.4)  # cells per step: standard deviations of the perturbation that are tried
SEED = 7
MINUTE = np.timedelta64(1, "m")

Members = Float32[np.ndarray, "m k h w"]


def steps(past: Field, num_leads: int, normalizer: Normalizer, mean: np.ndarray) -> Members:
    """Return an ensemble of STEPS; `past` holds a rain rate alone, mm/h."""
    with contextlib.redirect_stdout(io.StringIO()):
        pysteps = import_pysteps("steps")
        velocity = pysteps.motion.get_method("LK")(flow_images(past, normalizer)[:, 0], decl_scale=DECLUSTERING)
        count = past.shape[0]
        frames = np.stack([last_frame(past.isel(0, stop), mean)[0] for stop in range(count - ORDER, count + 1)])
        members = pysteps.nowcasts.get_method("steps")(
            DECIBEL.forward(frames.astype(np.float64)),
            velocity,
            num_leads,
            n_ens_members=len(LEVELS),
            n_cascade_levels=6,
            precip_thr=10 * np.log10(RAIN),
            kmperpixel=Grid.of(past).cell,
            timestep=float(past.step / MINUTE),
            ar_order=ORDER,
            seed=SEED,
            num_workers=1,
            extrap_kwargs=INFLOW,
        )
    return np.asarray(DECIBEL.inverse(members), np.float32)


def perturbed(frames: Float32[np.ndarray, "k h w"], size: float) -> Members:
    """Carry each frame on by random vectors of `size` cells per step and axis."""
    vectors = size * np.random.default_rng(SEED).normal(size=(len(LEVELS), 2))
    return np.stack(
        [
            [ndimage.shift(frame, lead * vector, order=1, mode="nearest") for lead, frame in enumerate(frames, 1)]
            for vector in vectors
        ]
    )


def best_size(model: Forecaster, record: Field, starts: list[int], clip: ClipConfig) -> float:
    """Return the size of perturbation with the lowest CRPS over the clips."""
    errors = dict.fromkeys(SIZES, 0.0)
    for start in starts:
        case = forecast_case([model], record, start, clip)
        for size in SIZES:
            members = perturbed(case.forecasts[model.name][:, 0], size)
            errors[size] += sum(scores.sum() for scores in by_lead(members, case, lambda own, truth: crps(own, truth)))
    return min(errors, key=lambda size: errors[size])


def by_lead(members: Members, case: Case, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """Score the sorted members of each lead where the first variable was observed."""
    known = np.isfinite(case.truth[:, 0])
    return [
        score(np.sort(members[:, lead][:, known[lead]], axis=0), case.truth[lead, 0][known[lead]])
        for lead in range(len(known))
    ]


def add(board: ProbabilityBoard, name: str, case: Case, members: Members) -> list[float]:
    """Score an ensemble, and return by how much its CRPS would fall with infinitely many members, lead by lead."""
    (variable,) = case.past.variables
    for lead, own in enumerate(by_lead(members, case, lambda own, _: own), 1):
        chances = {threshold: (own >= threshold).mean(axis=0) for threshold in board.thresholds[variable]}
        board.add_members(name, case, variable, lead, own, chances)
    return [float(gain.sum()) for gain in by_lead(members, case, lambda own, _: spread_lacking(own))]


def spread_lacking(members: Float32[np.ndarray, "m n"]) -> np.ndarray:
    """What the CRPS of few members has too much: half their mean difference, by 1 / m² and not 1 / (m (m - 1))."""
    count = len(members)
    pairs = (2 * np.arange(1, count + 1) - count - 1) @ members.astype(np.float64)  # half the sum over all pairs
    return np.asarray(pairs / (count * (count - 1)) - pairs / count**2)


def show(scores: pd.DataFrame) -> None:
    """Print CRPS and coverage at some leads."""
    leads = labels.spread(int(scores["lead"].max()), 4)
    table = Table("", "", *(f"{scores.loc[scores['lead'] == lead, 'lead_minutes'].iloc[0]:g} min" for lead in leads))
    for score in ("crps", "fair_crps", *(f"coverage_{interval}" for interval in INTERVALS), "width_90"):
        values = scores.pivot(index="model", columns="lead", values=score).loc[scores["model"].unique(), leads]
        for model, row in values.iterrows():
            table.add_row(score, labels.title(str(model)), *(f"{value:.3f}" for value in row))
    Console().print(table)


def main() -> None:
    """Forecast, score, print and write."""
    params = load_params(Path("params.yaml"))
    torch.set_num_threads(params.machine.num_threads)
    record = Field.open(DATA / "fields.zarr")
    splits = json.loads((DATA / "statistics.json").read_text(encoding="utf-8"))["splits"]
    normalizer = Normalizer.load(DATA / "statistics.json", DATA / "maps.safetensors")
    mean = Climatology.fit(record, splits["train"]).mean
    model, persistence = ModelForecaster.load(MODEL, params.machine), Persistence(mean)
    known = {
        model.name: model.calibrations,
        persistence.name: calibrated(persistence, record, splits["validation"], params.clip, normalizer),
    }
    size = best_size(model, record, read_starts(DATA / "crops.csv", "validation"), params.clip)
    print(f"the perturbation with the lowest CRPS on the validation part has {size:g} cells per step")
    board, lacking = ProbabilityBoard(params.evaluate), []
    for start in track(read_starts(DATA / "crops.csv"), "origin by origin"):
        case = forecast_case([model, persistence], record, start, params.clip)
        board.add(case, known)
        ensembles = {
            "steps": steps(case.past, params.clip.frames_out, normalizer, mean),
            "perturbed_flow": perturbed(case.forecasts[model.name][:, 0], size),
        }
        for name, members in ensembles.items():
            gains = add(board, name, case, members)
            lacking.append(pd.DataFrame({"model": name, "lead": np.arange(1, len(gains) + 1), "lacking": gains}))
    scores = board.scores()
    less = pd.concat(lacking).groupby(["model", "lead"])["lacking"].sum()
    found = less.reindex(pd.MultiIndex.from_frame(scores[["model", "lead"]])).fillna(0.0).to_numpy()
    scores.insert(scores.columns.get_loc("crps") + 1, "fair_crps", scores["crps"] - found / scores["cells"])
    show(scores)
    with written_whole(TARGET) as partial:
        scores.to_csv(partial, index=False, float_format="%.4g", lineterminator="\n")
    print(f"every lead and score: {TARGET}")


if __name__ == "__main__":
    main()
