"""An archive of simulated sequences, each from a beginning of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from physicnet.fields import DataError
from physicnet.source.plane import NoFlux, Periodic
from physicnet.source.sequences import Kind, Written, write

LICENSE = "simulated by physicnet; free of rights of others"
Values = Float64[np.ndarray, "h w"]


@runtime_checkable
class Simulation(Protocol):
    """A dataclass whose fields are all that decides how a beginning goes on."""

    name: ClassVar[str]
    title: ClassVar[str]
    references: ClassVar[str]
    variables: ClassVar[Mapping[str, Mapping[str, str]]]
    length_units: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def frame_step(self) -> float:
        """Return the time from one frame to the next, s."""
        ...

    @property
    def plane(self) -> Periodic | NoFlux:
        """Return the square."""
        ...

    def frames(self, rng: np.random.Generator) -> Iterator[Mapping[str, Values]]:
        """Draw a beginning, and give the values of each variable frame by frame, without end."""
        ...


def write_simulation(
    folder: Path, simulation: Simulation, num_sequences: int, num_frames: int, *, seed: int, per_file: int
) -> Written:
    """Write sequences of a simulation to files of `per_file` each; what is there already is not made again.

    The values of a sequence depend on the seed and its number alone.

    Raises:
        DataError: if the folder holds files of this name that were made otherwise, or a simulation becomes infinite.
    """
    kind = Kind(
        name=simulation.name,
        title=simulation.title,
        references=simulation.references,
        license=LICENSE,
        variables=simulation.variables,
        settings=asdict(simulation) | {"seed": seed, "num_frames": num_frames},
        num_frames=num_frames,
        step=simulation.frame_step,
        y=simulation.plane.centres,
        x=simulation.plane.centres,
        length_units=simulation.length_units,
    )

    def make(numbers: range) -> dict[str, Float32[np.ndarray, "s t h w"]]:
        sequences = [_sequence(simulation, seed, number, num_frames) for number in numbers]
        return {name: np.stack([sequence[name] for sequence in sequences]) for name in simulation.variables}

    return write(folder, kind, num_sequences, make, per_file=per_file)


def split_step(frame_step: float, max_step: float) -> tuple[float, int]:
    """Return the longest time step that goes whole times into that of the frames, at most `max_step`, and how often."""
    num = ceil(frame_step / max_step * (1 - 1e-12))  # a quotient of 10.000000000000002 is 10
    return frame_step / num, num


def _sequence(
    simulation: Simulation, seed: int, number: int, num_frames: int
) -> dict[str, Float32[np.ndarray, "t h w"]]:
    frames: list[dict[str, Float32[np.ndarray, "h w"]]] = []
    for frame in islice(simulation.frames(np.random.default_rng([seed, number])), num_frames):
        if not all(np.isfinite(values).all() for values in frame.values()):
            raise DataError(
                f"sequence {number} of {simulation.name} with seed {seed} has no finite values in frame {len(frames)}: "
                "its beginning is too violent for the time step; take another seed"
            )
        frames.append({name: values.astype(np.float32) for name, values in frame.items()})
    return {name: np.stack([frame[name] for frame in frames]) for name in simulation.variables}
