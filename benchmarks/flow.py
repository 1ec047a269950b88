"""Which flow carries a frame best? The estimate that the model starts from, beside other flows and none.

    python benchmarks/flow.py

Every flow carries the same frame in the same way, so only the flows differ. Forecasts start in the training and
validation parts of the record that `dvc repro` has ingested; no frame of the test part is read. Writes every score to
docs/results/flow.csv. Lucas-Kanade needs the extra: pip install -e '.[baselines]'.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from comparison import has_lucas_kanade, score
from jaxtyping import Float32, Float64

from physicnet.config import load_params
from physicnet.data.crops import starts
from physicnet.evaluation.baselines import Climatology, Persistence
from physicnet.evaluation.extrapolation import carry, flow_between, flow_images, last_frame, trajectories
from physicnet.evaluation.nowcasting import DECLUSTERING, import_pysteps
from physicnet.fields import Field
from physicnet.model import motion
from physicnet.model.forecaster import Forecaster
from physicnet.normalization import Normalizer

TARGET = Path("docs/results/flow.csv")
APART = 4  # frames between two forecast origins

FlowOf = Callable[[Field], Float64[np.ndarray, "c 2 h w"]]


@dataclass(frozen=True, eq=False)
class Carried:
    """The last frame carried along a flow, which each variable has its own of."""

    name: str
    flow_of: FlowOf
    mean: Float32[np.ndarray, "c h w"]

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Carry the last frame."""
        channels = [
            np.stack([carry(frame, displacement) for displacement in trajectories(flow, num_leads)])
            for frame, flow in zip(last_frame(past, self.mean), self.flow_of(past), strict=True)
        ]
        return np.stack(channels, axis=1).astype(np.float32)


def model_flow(past: Field, *, normalizer: Normalizer, narrow: float) -> Float64[np.ndarray, "c 2 h w"]:
    """Return the model's first flow, one for all variables, with windows of `narrow` cells in the matching."""
    values = torch.from_numpy(past.frames(0, past.shape[0]))
    observed = values.isfinite()
    standardised = torch.where(observed, normalizer.normalize(values, past.times), 0.0)
    with patch.object(motion, "NARROW", narrow):
        flow = motion.estimate_flow(standardised[None], observed.float()[None])[0]
    return np.repeat(flow.double().numpy()[None], past.shape[1], axis=0)


def tvl1_flow(past: Field, *, normalizer: Normalizer) -> Float64[np.ndarray, "c 2 h w"]:
    """Return scikit-image's TV-L1 flow between the last two frames, as the baseline `advection` takes it."""
    before, after = flow_images(past, normalizer)[-2:]
    return np.stack([flow_between(*pair) for pair in zip(before, after, strict=True)])


def lucas_kanade_flow(past: Field, *, normalizer: Normalizer) -> Float64[np.ndarray, "c 2 h w"]:
    """Return pysteps' Lucas-Kanade flow over all past frames, as the baseline `lucas_kanade` takes it."""
    images = flow_images(past, normalizer)
    motion = import_pysteps("lucas_kanade").motion.get_method("LK")
    flows = [motion(images[:, channel], decl_scale=DECLUSTERING) for channel in range(images.shape[1])]
    return np.stack(flows).astype(np.float64)


def flows(normalizer: Normalizer) -> dict[str, FlowOf]:
    """Return the flows that can be had here, by name."""
    found: dict[str, FlowOf] = {
        f"first flow ({width:g} cells)": partial(model_flow, normalizer=normalizer, narrow=width)
        for width in (motion.NARROW, motion.NARROW / 2)
    }
    found["TV-L1"] = partial(tvl1_flow, normalizer=normalizer)
    if has_lucas_kanade():
        found["Lucas–Kanade"] = partial(lucas_kanade_flow, normalizer=normalizer)
    return found


def main() -> None:
    """Score every flow, print the table and write it."""
    params = load_params(Path("params.yaml"))
    torch.set_num_threads(params.machine.num_threads)
    record = Field.open(Path("data/fields.zarr"))
    normalizer = Normalizer.load(Path("data/statistics.json"), Path("data/maps.safetensors"))
    splits = json.loads(Path("data/statistics.json").read_text(encoding="utf-8"))["splits"]
    mean = Climatology.fit(record, splits["train"]).mean
    forecasters: list[Forecaster] = [Carried(name, flow, mean) for name, flow in flows(normalizer).items()]
    forecasters.append(Persistence(mean))
    origins = [start for part in ("train", "validation") for start in starts(splits[part], params.clip.frames)[::APART]]
    score(forecasters, record, origins, params, normalizer, TARGET)


if __name__ == "__main__":
    main()
