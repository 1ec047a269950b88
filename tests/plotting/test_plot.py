import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from forecasting.storing import put
from PIL import Image
from plotting import drawn
from typer.testing import CliRunner

from physicnet import cli
from physicnet.fields import DataError, Field
from physicnet.forecasting import cf
from physicnet.plotting import coasts
from physicnet.plotting import plot as plotting
from physicnet.plotting.forecast import Forecast
from physicnet.plotting.plot import plot

RAIN = drawn.record("rate")


@pytest.fixture(autouse=True)
def no_cartopy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is installed nor the network decides about these pictures."""
    monkeypatch.setattr(coasts, "find_spec", lambda _: None)


@pytest.fixture
def handler() -> Iterator[None]:
    """Put that of SIGTERM back, which a command changes."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def frames(path: Path) -> int:
    with Image.open(path) as film:
        assert film.format == "GIF"
        return int(getattr(film, "n_frames", 1))


def words_alone(monkeypatch: pytest.MonkeyPatch) -> list[plotting.Words]:
    """Make films of nothing, and return the words that they would have."""
    told: list[plotting.Words] = []

    def write_film(path: Path, *drawn: Any) -> None:
        told.append(drawn[1])
        path.touch()

    monkeypatch.setattr(plotting, "write_film", write_film)
    return told


def test_a_picture_and_a_film_are_written_of_each_quantity(tmp_path: Path) -> None:
    record = drawn.record("uo", "vo")
    path = drawn.file(tmp_path, record, **drawn.moving(record, 3.0, 1.0))
    plotted = plot(path, tmp_path / "out", [drawn.observe(tmp_path, record)], drawn.rules("uo", "vo"))
    stems = ("forecast_uo", "forecast_vo", "forecast_uo_vo_speed")
    assert [file.name for file in plotted.files] == [stem + end for stem in stems for end in (".png", ".gif")]
    assert names(tmp_path / "out") == {file.name for file in plotted.files}
    assert plotted.no_coasts == "cartopy is not installed"
    for file in plotted.files:
        with Image.open(file) as picture:
            assert len(set(picture.convert("L").reduce(4).tobytes())) > 50


def test_a_film_begins_with_the_last_observed_frame(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, RAIN)
    assert frames(plot(path, tmp_path, [], None).files[1]) == drawn.NUM_LEADS
    observations = [drawn.observe(tmp_path, RAIN)]
    assert frames(plot(path, tmp_path, observations, drawn.rules("rate")).files[1]) == 1 + drawn.NUM_LEADS


def test_equal_forecasts_give_equal_bytes(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, RAIN)
    first, second = (plot(path, tmp_path / name, [], None).files for name in ("one", "two"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_a_plot_that_fails_leaves_the_files_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drawn.file(tmp_path, RAIN)
    film = plot(path, tmp_path / "out", [], None).files[1]
    before = film.read_bytes()

    def fail(target: Path, *_: object) -> None:
        target.write_bytes(b"GIF")
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(plotting, "write_film", fail)
    with pytest.raises(RuntimeError, match="full"):
        plot(path, tmp_path / "out", [], None)
    assert film.read_bytes() == before
    assert names(tmp_path / "out") == {"forecast_rate.png", "forecast_rate.gif"}


def test_leads_beyond_those_trained_have_a_star_and_times_are_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = words_alone(monkeypatch)
    plot(drawn.file(tmp_path, RAIN, beyond_trained_leads=("time", np.array([0, 0, 1], np.int8))), tmp_path, [], None)
    (words,) = told
    assert words.leads == [
        "+5 min\n2020-01-01 00:25 UTC",
        "+10 min\n2020-01-01 00:30 UTC",
        "+15 min*\n2020-01-01 00:35 UTC",
    ]
    assert words.title == "Rainfall rate, forecast from 2020-01-01 00:20 UTC"
    assert words.foot == "*: beyond the leads that the model was trained for; model abababababab; forecast.nc"


def test_all_leads_are_counted_in_one_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = words_alone(monkeypatch)
    hours = RAIN.dataset.assign_coords(time=RAIN.times[0] + np.arange(10) * np.timedelta64(90, "m"))
    plot(drawn.file(tmp_path, type(RAIN)(hours)), tmp_path, [], None)
    assert [lead.split("\n")[0] for lead in told[0].leads] == ["+1.5 h", "+3 h", "+4.5 h"]


@pytest.mark.usefixtures("handler")
def test_the_command_reads_observations_as_ingest_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drawn.file(tmp_path, RAIN)
    drawn.observe(tmp_path, RAIN)
    Path("params.yaml").write_text(yaml.safe_dump(drawn.content("rate")))
    done = CliRunner().invoke(cli.app, ["plot", "forecast.nc", "--observations", "observed", "-o", "out"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "out/forecast_rate.png",
        "out/forecast_rate.gif",
        "without coastlines: cartopy is not installed",
    ]
    assert frames(Path("out/forecast_rate.gif")) == 1 + drawn.NUM_LEADS


@pytest.mark.usefixtures("handler")
def test_the_command_needs_a_forecast_alone_and_draws_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("made").mkdir()
    drawn.file(Path("made"), RAIN)
    done = CliRunner().invoke(cli.app, ["plot", "made/forecast.nc"])
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "made") == {"forecast.nc", "forecast_rate.png", "forecast_rate.gif"}


def stored(field: Field) -> xr.Dataset:
    """A forecast with all that a store needs to know."""
    told = {"physicnet_observations": "2020-01-01T00:15:00, 2020-01-01T00:20:00"}
    minutes = ("time", [5, 10, 15], {"units": "minutes", "standard_name": "forecast_period"})
    return drawn.forecast(field).assign_coords(forecast_period=minutes).assign_attrs(told)


def test_a_forecast_of_a_store_is_drawn_as_that_of_a_file(tmp_path: Path) -> None:
    whole = [stored(RAIN), stored(RAIN.isel(1, 10))]  # from 00:20 and 00:25
    store = tmp_path / "archive.zarr"
    assert put(store, whole) == 2
    last = plot(store, tmp_path / "out", [], None)
    assert [path.name for path in last.files] == [f"archive_2020-01-01T002500Z_rate.{end}" for end in ("png", "gif")]
    cf.write(tmp_path / "first.nc", whole[0])
    first, of_file = Forecast.read(store, "2020-01-01T00:20"), Forecast.read(tmp_path / "first.nc")
    assert first.stem == "archive_2020-01-01T002000Z"
    assert first.origin == of_file.origin
    np.testing.assert_array_equal(first.minutes, of_file.minutes)
    np.testing.assert_array_equal(first.values("rate"), of_file.values("rate"))


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("2020-01-01T00:35", r"archive.zarr has no forecast from 2020-01-01T00:35, but from 2020-01-01T00:20:00; "),
        ("noon", r"'noon' is no time to forecast from"),
    ],
)
def test_a_time_of_which_a_store_has_no_forecast_is_refused(at: str, message: str, tmp_path: Path) -> None:
    put(tmp_path / "archive.zarr", [stored(RAIN)])
    with pytest.raises(DataError, match=message):
        plot(tmp_path / "archive.zarr", tmp_path, [], None, at=at)
