import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from physicnet.cli import app
from physicnet.source.commands import Places, SevirImage
from physicnet.source.sequences import Written
from physicnet.source.sevir import IMAGES
from physicnet.source.sevir_catalogue import Dates
from physicnet.source.table import PLACES


@pytest.fixture(autouse=True)
def _handler_of_sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Called:
    """Stands for the function that writes, and keeps what it was told."""

    def __call__(self, *paths: Path, **options: Any) -> Written:
        """Write nothing."""
        self.paths, self.options = paths, options
        return Written(made=2, known=1)


@pytest.fixture
def called(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Called:
    """The writing function that the test names, replaced."""
    written = Called()
    monkeypatch.setattr(request.param, written)
    return written


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["source", *words], catch_exceptions=False)


@pytest.mark.parametrize("called", ["physicnet.source.moving_mnist.write"], indirect=True)
def test_moving_mnist_has_the_published_protocol_by_default(tmp_path: Path, called: Called) -> None:
    assert "raw: 2 files made, 1 were there" in run("moving-mnist", "--mnist", str(tmp_path), "-o", "raw").output
    assert called.paths == (Path("raw"), tmp_path)
    assert called.options["parts"] == {"train": 10_000, "validation": 1_000, "test": 10_000}
    assert called.options["num_digits"] == 2


def test_moving_mnist_of_no_sequence_is_refused(tmp_path: Path) -> None:
    none = [word for part in ("--train", "--validation", "--test") for word in (part, "0")]
    found = run("moving-mnist", "--mnist", str(tmp_path), "-o", "raw", *none)
    assert found.exit_code == 2
    assert "no sequence is asked for" in found.output


@pytest.mark.parametrize("called", ["physicnet.source.fire_frames.write"], indirect=True)
def test_fire_frames_has_the_published_layout_by_default(tmp_path: Path, called: Called) -> None:
    run("fire-frames", str(tmp_path), "-o", "raw", "--size", "64", "48", "--colour")
    assert called.paths == (Path("raw"), tmp_path)
    assert called.options["pattern"] == "{clip}/{frame}.*"
    assert called.options["size"] == (64, 48)
    assert called.options["in_colour"]


@pytest.mark.parametrize("called", ["physicnet.source.sevir.write"], indirect=True)
def test_sevir_has_the_dates_of_its_users_by_default(tmp_path: Path, called: Called) -> None:
    run("sevir", str(tmp_path), "-o", "raw", "--image", "vil-liquid", "--every", "2", "--coarsen", "3")
    assert called.paths == (Path("raw"), tmp_path)
    assert called.options["dates"] == Dates(datetime(2019, 1, 1), datetime(2019, 6, 1))
    assert [called.options[name] for name in ("image", "every", "cells")] == ["vil-liquid", 2, 3]


def test_all_types_of_images_and_places_can_be_asked_for() -> None:
    assert set(get_args(SevirImage)) == set(IMAGES)
    assert set(get_args(Places)) == set(PLACES)


def test_a_simulated_table_becomes_a_series(tmp_path: Path) -> None:
    table, series = tmp_path / "cases.csv", tmp_path / "cases.nc"
    assert run("epidemic-table", "-o", str(table), "--side", "4", "--years", "0.1").exit_code == 0
    assert "cases.nc: 5 frames of 4 x 4 cells" in run("epidemic-grid", str(table), "-o", str(series)).output
    assert dict(xr.load_dataset(series)["cases"].sizes) == {"time": 5, "y": 4, "x": 4}


def test_vehicles_are_counted_where_and_when_they_were_seen(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at,lat,lon\n2020-06-01T08:05,52.04,4.31\n2020-06-01T08:20,52.04,4.33\n")
    named = [word for pair in ("time=at", "latitude=lat", "longitude=lon") for word in ("--column", pair)]
    words = ("--spacing", "0.1", "--step", "15min", "--events", *named, "-o", str(tmp_path / "t.nc"))
    assert run("traffic-grid", str(tmp_path / "t.csv"), *words).exit_code == 0
    assert xr.load_dataset(tmp_path / "t.nc")["vehicles"].values.tolist() == [[[1.0]], [[1.0]]]


def test_a_column_is_named_with_a_sign(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    found = run("epidemic-grid", str(tmp_path / "t.csv"), "-o", "c.nc", "--column", "time")
    assert found.exit_code == 2
    assert "time is not of the form time=DATE" in found.output


@pytest.mark.parametrize("command", ["traffic-grid", "epidemic-grid"])
def test_a_table_is_not_overwritten(tmp_path: Path, command: str) -> None:
    (tmp_path / "t.csv").write_text("time,row,column,count\n2020-06-01,0,0,1\n")
    words = (str(tmp_path / "t.csv"), "-o", str(tmp_path / "t.csv"), "--spacing", "1", "--places", "cells")
    assert run(command, *words).exit_code == 2
    assert (tmp_path / "t.csv").read_text().startswith("time")
