"""Would a memory that knows the hour of the day, the day before, or the place, forecast hourly temperature better?

    python benchmarks/hours.py

Fits linear forecasts of the temperature sample in closed form, for every lead its own, to the training part, and prints
their RMSE on the validation part (no frame of the test part is read). All forecast the anomaly from the mean of its
hour, as the model does:

| forecast | features of a cell |
|---|---|
| persistent anomaly | none: the last anomaly stays |
| memory | those of the model's memory (`cascade.py`), carried along the first flow, as in the model |
| memory, not carried | the same where they are |
| and hour of the day | the same, and bands and changes times cosine and sine of the hour that is forecast |
| and day before | the memory, carried, and where it is the anomaly of the same hour one day before |
| and place | the same, and bands and changes with weights of each cell's own, ridge regression towards none |
| neighbours | the 5 x 5 cells around in the last two frames |
| 24 hours ago | none: the anomaly of the same hour one day before |

Forecasts begin where a whole day came before. Writes docs/results/hours.csv.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import skill_data
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from physicnet.fields import Field, written_whole
from physicnet.model.cascade import NUM_BASIS
from physicnet.model.physicnet import FirstGuess, first_guess
from physicnet.model.warp import sample

TARGET = Path("docs/results/hours.csv")
LEADS = (1, 3, 6, 9, 12)  # hours
RIDGE = 1e-3  # relative to the mean square of each feature
STRENGTH = 300  # frames; how many of them the weights of a cell must gainsay to move away from none
RADIUS = 2  # cells
DAY = 24  # frames before the first that is forecast
AT_ONCE = 50  # clips


class Part(NamedTuple):
    """The clips of one part of the record, and what the model would begin with."""

    clips: Float[Tensor, "b t h w"]  # standardised anomalies
    hours: Float[Tensor, "b t"]
    guess: FirstGuess  # of one variable

    @property
    def last(self) -> Float[Tensor, "b h w"]:
        """The last frame that is known."""
        return self.clips[:, DAY - 1]

    def truth(self, lead: int) -> Float[Tensor, "b h w"]:
        """The frame to forecast."""
        return self.clips[:, DAY - 1 + lead]

    def day_before(self, lead: int) -> Float[Tensor, "b h w"]:
        """The frame one day before that."""
        return self.clips[:, lead - 1]

    def carried(self, field: Float[Tensor, "b n h w"], lead: int) -> Float[Tensor, "b n h w"]:
        """Move fields along the first flow."""
        return sample(field, self.guess.paths[:, lead - 1])

    @property
    def features(self) -> Float[Tensor, "b f h w"]:
        """The memory's."""
        return self.guess.features[:, 0]


def read(part: str, prepared: skill_data.Prepared, folder: Path) -> Part:
    """Cut every clip of a part out of the normalised record."""
    record, clip = Field.open(folder / "normalized.zarr"), prepared.params.clip
    segments = json.loads((folder / "statistics.json").read_text(encoding="utf-8"))["splits"][part]
    values = torch.from_numpy(record.frames(0, record.shape[0]))[:, 0]
    hours = torch.from_numpy(record.times.astype("datetime64[h]").astype(np.int64) % 24).float()
    frames = DAY + clip.frames_out
    starts = [first for start, stop in segments for first in range(start, stop - frames + 1)]
    clips, times = (torch.stack([of[start : start + frames] for start in starts]) for of in (values, hours))
    past = clips[:, DAY - clip.frames_in : DAY, None]
    guesses = [first_guess(some, torch.ones_like(some), clip.frames_out) for some in past.split(AT_ONCE)]
    return Part(clips, times, FirstGuess(*(torch.cat(parts) for parts in zip(*guesses, strict=True))))


def with_hour(part: Part, lead: int) -> Float[Tensor, "b f h w"]:
    """The memory's features, and the first of them times cosine and sine of the hour that is forecast."""
    phase = 2 * np.pi * part.hours[:, DAY - 1 + lead, None, None, None] / 24
    basis = part.features[:, :NUM_BASIS]
    return torch.cat((part.features, basis * torch.cos(phase), basis * torch.sin(phase)), dim=1)


def neighbours(part: Part, _lead: int) -> Float[Tensor, "b f h w"]:
    """The cells around in the last two frames, and 1."""
    side, frames = 2 * RADIUS + 1, part.clips[:, DAY - 2 : DAY]
    padded = F.pad(frames, (RADIUS,) * 4, mode="replicate")
    around = rearrange(padded.unfold(2, side, 1).unfold(3, side, 1), "b t h w i j -> b (t i j) h w")
    return torch.cat((around, torch.ones_like(around[:, :1])), dim=1)


def weights(features: Float[Tensor, "b f h w"], rest: Float[Tensor, "b h w"]) -> Float[Tensor, " f"]:
    """Ridge regression over all cells."""
    squares = einsum(features.double(), features.double(), "b f h w, b g h w -> f g")
    products = einsum(features.double(), rest.double(), "b f h w, b h w -> f")
    return torch.linalg.solve(squares + RIDGE * torch.diag(squares.diagonal()), products).float()


def weights_of_place(features: Float[Tensor, "b f h w"], rest: Float[Tensor, "b h w"]) -> Float[Tensor, "h w f"]:
    """Ridge regression of each cell alone, towards no weight."""
    squares = einsum(features, features, "b f h w, b g h w -> h w f g")
    products = einsum(features, rest, "b f h w, b h w -> h w f")
    doubt = STRENGTH * squares.mean(dim=(0, 1)).diagonal() / len(features)
    return torch.linalg.solve(squares + torch.diag(doubt), products)


def errors(
    train: Part,
    check: Part,
    lead: int,
    make: Callable[[Part, int], Float[Tensor, "b f h w"]],
    *,
    moved: bool = False,
    placed: bool = False,
    recalled: bool = False,
) -> float:
    """Fit to one part; return the RMSE on the other, in standard deviations."""

    def seen(part: Part) -> tuple[Float[Tensor, "b f h w"], Float[Tensor, "b h w"]]:
        features, last = make(part, lead), part.last
        if moved:
            features, last = part.carried(features, lead), part.carried(last[:, None], lead)[:, 0]
        if recalled:
            features = torch.cat((features, part.day_before(lead)[:, None]), dim=1)
        return features, part.truth(lead) - last

    (features, rest), (others, missed) = seen(train), seen(check)
    shared = weights(features, rest)
    missed = missed - einsum(others, shared, "b f h w, f -> b h w")
    if placed:
        left = rest - einsum(features, shared, "b f h w, f -> b h w")
        own = weights_of_place(features[:, :NUM_BASIS], left)
        missed = missed - einsum(others[:, :NUM_BASIS], own, "b f h w, h w f -> b h w")
    return float(missed.square().mean().sqrt())


def main() -> None:
    """Fit, print and write."""
    prepared = skill_data.prepare("temperature", None)
    torch.set_num_threads(prepared.params.machine.num_threads)
    folder = skill_data.FOLDER / "temperature" / "data"
    train, check = (read(part, prepared, folder) for part in ("train", "validation"))
    (t2m,) = prepared.inputs.normalizer.channels

    def memory(part: Part, _lead: int) -> Float[Tensor, "b f h w"]:
        return part.features

    forecasts: dict[str, Callable[[int], float]] = {
        "persistent anomaly": lambda lead: float((check.truth(lead) - check.last).square().mean().sqrt()),
        "memory": lambda lead: errors(train, check, lead, memory, moved=True),
        "memory, not carried": lambda lead: errors(train, check, lead, memory),
        "and hour of the day": lambda lead: errors(train, check, lead, with_hour),
        "and day before": lambda lead: errors(train, check, lead, memory, moved=True, recalled=True),
        "and place": lambda lead: errors(train, check, lead, memory, placed=True),
        "neighbours": lambda lead: errors(train, check, lead, neighbours),
        "24 hours ago": lambda lead: float((check.truth(lead) - check.day_before(lead)).square().mean().sqrt()),
    }
    table = pd.DataFrame(
        {name: [t2m.std * forecast(lead) for lead in LEADS] for name, forecast in forecasts.items()}, index=LEADS
    ).T
    printed = Table("RMSE, K", *(f"{lead} h" for lead in LEADS), title=f"{len(check.clips)} forecasts, validation part")
    for name, row in table.iterrows():
        printed.add_row(str(name), *(f"{value:.3f}" for value in row))
    Console().print(printed)
    with written_whole(TARGET) as partial:
        table.to_csv(partial, index_label="forecast", float_format="%.4f", lineterminator="\n")
    print(f"written: {TARGET}")


if __name__ == "__main__":
    main()
