"""An archive of simulations: its values are of the seed and the number of the sequence alone, however it is cut."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import xarray as xr

from physicnet.fields import DataError
from physicnet.source.plane import Periodic
from physicnet.source.reaction_diffusion import LambdaOmega
from physicnet.source.simulation import Simulation, split_step, write_simulation

SYSTEM = LambdaOmega(32, spin_up=0.0)


def archive(folder: Path, simulation: Simulation = SYSTEM, seed: int = 3, per_file: int = 2) -> list[Path]:
    write_simulation(folder, simulation, 5, 4, seed=seed, per_file=per_file)
    return sorted(folder.iterdir())


def values(paths: list[Path]) -> np.ndarray:
    """Return u of all sequences (s t h w)."""
    return np.concatenate([xr.load_dataset(path)["u"].values for path in paths])


def test_a_file_holds_sequences_with_coordinates_and_settings(tmp_path: Path) -> None:
    *_, last = archive(tmp_path)
    assert last.name == "lambda-omega_000004-000004.nc"
    with xr.open_dataset(last) as dataset:
        assert dataset["u"].dims == ("sequence", "time", "y", "x")
        assert dataset["u"].shape == (1, 4, 32, 32)
        assert dataset["sequence"].values == [4]
        np.testing.assert_array_equal(np.diff(dataset["time"].values), np.timedelta64(200, "ms"))
        np.testing.assert_allclose(dataset["x"].values, SYSTEM.plane.centres)
        settings = json.loads(dataset.attrs["physicnet_source"])
    assert settings["seed"] == 3
    assert (settings["beta"], settings["num_cells"], settings["num_frames"]) == (1.0, 32, 4)


def test_values_do_not_depend_on_how_sequences_are_shared_out(tmp_path: Path) -> None:
    whole, parts = archive(tmp_path / "whole", per_file=5), archive(tmp_path / "parts", per_file=2)
    assert (len(whole), len(parts)) == (1, 3)
    np.testing.assert_array_equal(values(whole), values(parts))


def test_the_same_seed_gives_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    once, again, other = (archive(tmp_path / str(i), seed=seed) for i, seed in enumerate((3, 3, 4)))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    assert not np.isclose(values(once), values(other)).all(axis=(1, 2, 3)).any()


def test_sequences_are_independent(tmp_path: Path) -> None:
    first_frames = values(archive(tmp_path))[:, 0].reshape(5, -1)
    correlations = np.corrcoef(first_frames) - np.eye(5)
    assert np.abs(correlations).max() < 0.6


def test_an_archive_is_gone_on_with(tmp_path: Path) -> None:
    paths = archive(tmp_path)
    before = [path.read_bytes() for path in paths]
    paths[1].unlink()
    written = write_simulation(tmp_path, SYSTEM, 5, 4, seed=3, per_file=2)
    assert (written.made, written.known) == (1, 2)
    assert [path.read_bytes() for path in paths] == before


def test_an_archive_of_other_parameters_is_refused(tmp_path: Path) -> None:
    archive(tmp_path)
    with pytest.raises(DataError, match=r"was made with beta = 1\.0, not 0\.5"):
        archive(tmp_path, replace(SYSTEM, beta=0.5))


@dataclass(frozen=True)
class Exploding:
    """One whose third frame is not finite."""

    frame_step: float = 1.0
    name: ClassVar[str] = "exploding"
    title: ClassVar[str] = "One"
    references: ClassVar[str] = "none"
    variables: ClassVar[Mapping[str, Mapping[str, str]]] = {"u": {"units": "1"}}
    length_units: ClassVar[str] = "1"
    plane: ClassVar[Periodic] = Periodic(4, 1.0)

    def frames(self, _rng: np.random.Generator) -> Iterator[Mapping[str, np.ndarray]]:
        yield from ({"u": np.full((4, 4), value)} for value in (0.0, 1.0, np.inf, np.nan))


def test_what_becomes_infinite_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sequence 0 of exploding with seed 3 has no finite values in frame 2"):
        archive(tmp_path, Exploding())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame_step", "max_step", "expected"), [(10.0, 1.0, (1.0, 10)), (0.3, 0.1, (0.1, 3)), (1.0, 0.4, (1 / 3, 3))]
)
def test_time_steps_go_whole_times_into_a_frame(
    frame_step: float, max_step: float, expected: tuple[float, int]
) -> None:
    assert split_step(frame_step, max_step) == pytest.approx(expected)
