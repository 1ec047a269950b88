"""The commands that simulate: what they write, and what they refuse."""

from pathlib import Path
from typing import get_args

import pytest
import xarray as xr
from typer.testing import CliRunner

from physicnet import cli
from physicnet.source import commands
from physicnet.source.reaction_diffusion import REGIMES, SYSTEMS

FEW = ("--sequences", "2", "--frames", "2", "--cells", "32", "--per-file", "1")


@pytest.fixture(autouse=True)
def _no_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the handler of SIGTERM of these tests alone."""
    monkeypatch.setattr(commands, "_begin", lambda: None)


def run(*words: str) -> str:
    done = CliRunner().invoke(cli.app, ["source", *words])
    return f"{done.exit_code} {done.output}"


def test_choices_are_those_of_the_simulations() -> None:
    assert get_args(commands.System) == tuple(SYSTEMS)
    assert get_args(commands.Regime) == tuple(REGIMES)


def test_reaction_and_diffusion_are_written(tmp_path: Path) -> None:
    done = run("reaction-diffusion", "-o", str(tmp_path), "--system", "gray-scott", "--regime", "maze", *FEW)
    assert done == f"0 {tmp_path}: 2 files made, 0 were there\n"
    with xr.open_mfdataset(str(tmp_path / "*.nc")) as dataset:
        assert dataset["v"].shape == (2, 2, 32, 32)
        assert '"feed": 0.029' in dataset.attrs["physicnet_source"]


def test_a_regime_is_refused_where_there_are_none(tmp_path: Path) -> None:
    done = run("reaction-diffusion", "-o", str(tmp_path), "--system", "lambda-omega", "--regime", "maze")
    assert done.startswith("2 ")
    assert "lambda-omega has no regimes" in done


def test_shallow_water_is_written(tmp_path: Path) -> None:
    assert run("shallow-water", "-o", str(tmp_path), *FEW) == f"0 {tmp_path}: 2 files made, 0 were there\n"
    with xr.open_mfdataset(str(tmp_path / "*.nc")) as dataset:
        assert dataset["height"].shape == (2, 2, 32, 32)
        assert dataset["height"].units == "m"
        assert dataset["x"].standard_name == "projection_x_coordinate"


def test_smoke_is_written(tmp_path: Path) -> None:
    done = run("smoke", "-o", str(tmp_path), *FEW, "--sequences", "1")
    assert done == f"0 {tmp_path}: 1 files made, 0 were there\n"
    with xr.open_dataset(tmp_path / "smoke_000000-000000.nc") as dataset:
        assert dataset["smoke"].shape == (1, 2, 32, 32)
        assert dataset["smoke"].max() > 0.1
