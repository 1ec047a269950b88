from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from moving import blob
from PIL import Image, ImageSequence

from physicnet.evaluation import animation
from physicnet.evaluation.figures import Map
from physicnet.evaluation.gallery import chart_of
from physicnet.evaluation.scoring import Case
from physicnet.fields import Field
from physicnet.normalization import Normalizer, Standardization

NUM_LEADS = 3


def case_of(record: Field, error: float) -> Case:
    """A case of two frames and three leads; the model errs by a constant."""
    truth = record.frames(2, 2 + NUM_LEADS)
    return Case(0, record.isel(0, 2), truth, {"physicnet": truth + np.float32(error), "persistence": truth})


def draw(folder: Path, case: Case, normalizer: Normalizer) -> Path:
    (folder / "figures").mkdir(parents=True)
    animation.draw_leads(folder, case, normalizer)
    return folder


@pytest.fixture(scope="module")
def drawn(moving_blob: Field, normalizer: Normalizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a model that errs by 0.5 mm/h."""
    return draw(tmp_path_factory.mktemp("drawn") / "results", case_of(moving_blob, 0.5), normalizer)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def chart_and_errors(record: Field, normalizer: Normalizer, truth: np.ndarray, last: np.ndarray) -> tuple[Map, Map]:
    chart = chart_of(record, 0, truth, normalizer)
    return chart, animation.error_chart(chart, truth, last)


def test_every_lead_has_a_picture_and_all_are_of_one_size(drawn: Path) -> None:
    paths = sorted((drawn / "frames" / "rain").iterdir())
    assert [path.name for path in paths] == ["lead_000.png", "lead_010.png", "lead_020.png", "lead_030.png"]
    assert {pixels(path).shape for path in paths} == {(363, 902, 3)}


def test_the_animation_shows_the_pictures_in_their_order_and_rests_on_the_last(drawn: Path) -> None:
    paths = sorted((drawn / "frames" / "rain").iterdir())
    with Image.open(drawn / "figures" / "forecast.gif") as film:
        assert film.n_frames == 1 + NUM_LEADS
        assert film.info["loop"] == 0
        shown = [(frame.info["duration"], np.asarray(frame.convert("RGB"))) for frame in ImageSequence.Iterator(film)]
    assert [duration for duration, _ in shown] == [330, 330, 330, 1500]
    for path, (_, frame) in zip(paths, shown, strict=True):
        assert np.abs(pixels(path).astype(int) - frame).mean() < 1


def test_runs_differ_in_what_the_model_says_alone(
    drawn: Path, moving_blob: Field, normalizer: Normalizer, tmp_path: Path
) -> None:
    other = draw(tmp_path, case_of(moving_blob, 40.0), normalizer)
    for path in sorted((drawn / "frames" / "rain").iterdir()):
        ours, theirs = pixels(path), pixels(other / "frames" / "rain" / path.name)
        panel = slice(0, int(0.335 * 902))
        assert np.array_equal(ours[:, panel], theirs[:, panel])
        scales = slice(int(0.85 * 363), None)
        assert np.array_equal(ours[scales], theirs[scales])
        assert np.array_equal(ours, theirs) == (path.name == "lead_000.png")  # from where both start


def test_equal_cases_give_equal_bytes(drawn: Path, moving_blob: Field, normalizer: Normalizer, tmp_path: Path) -> None:
    again = draw(tmp_path, case_of(moving_blob, 0.5), normalizer)
    first, second = ({p.name: p.read_bytes() for p in folder.rglob("*.*")} for folder in (drawn, again))
    assert first == second


def test_every_variable_has_its_pictures_and_its_animation(moving_blob: Field, tmp_path: Path) -> None:
    both = moving_blob.dataset.assign(wind=moving_blob.dataset["rain"].assign_attrs(units="m s-1"))
    normalizer = Normalizer(tuple(Standardization(name, (), 0.0, 1.0) for name in ("rain", "wind")))
    draw(tmp_path, case_of(Field(both), 0.5), normalizer)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"forecast_rain.gif", "forecast_wind.gif"}
    assert {path.name for path in (tmp_path / "frames").iterdir()} == {"rain", "wind"}


def test_a_single_lead_of_a_record_with_gaps_is_drawn(
    field_of: Callable[..., Field], normalizer: Normalizer, tmp_path: Path
) -> None:
    values = blob(3)
    values[1] = np.nan
    values[2, 20:30, 15:25] = np.nan
    record = field_of(values)
    case = Case(0, record.isel(0, 2), record.frames(2, 3), {"physicnet": np.zeros_like(record.frames(2, 3))})
    draw(tmp_path, case, normalizer)
    with Image.open(tmp_path / "figures" / "forecast.gif") as film:
        assert film.n_frames == 2
    grey = (pixels(tmp_path / "frames" / "rain" / "lead_010.png") == 0xD9).all(axis=-1)
    assert all(panel.any() for panel in np.split(grey[:, :900], 3, axis=1))


@pytest.mark.parametrize(
    ("minutes", "names"),
    [
        ([5, 10], ["005", "010"]),
        ([720, 1440], ["0720", "1440"]),
        ([0, 7.5, 15], ["000", "001", "002"]),
    ],
)
def test_names_sort_as_leads_do(minutes: list[float], names: list[str]) -> None:
    written = animation.file_names(np.array(minutes, float))
    assert written == [f"lead_{name}.png" for name in names]
    assert written == sorted(written)


@pytest.mark.parametrize(("change", "end"), [(0.3, 0.5), (0.5, 0.5), (6.0, 10.0), (1100.0, 2000.0), (0.0, 1.0)])
def test_errors_are_drawn_as_far_as_the_truth_moves(
    moving_blob: Field, normalizer: Normalizer, change: float, end: float
) -> None:
    last = np.array([[1.0, 2.0, np.nan]])
    truth = np.stack([last + change, last - change])
    norm = chart_and_errors(moving_blob, normalizer, truth, last)[1].norm
    assert (norm.vmin, norm.vmax) == (pytest.approx(-end), pytest.approx(end))


def test_errors_have_a_scale_where_nothing_was_observed(moving_blob: Field, normalizer: Normalizer) -> None:
    nothing = np.full((1, 3), np.nan)
    norm = chart_and_errors(moving_blob, normalizer, nothing[None], nothing)[1].norm
    assert (norm.vmin, norm.vmax) == (-1, 1)


def test_the_error_is_the_forecast_minus_the_truth_where_there_is_one(
    moving_blob: Field, normalizer: Normalizer
) -> None:
    truth, forecast = np.array([[1.0, 2.0, np.nan]]), np.array([[1.5, 4.0, 9.0]])
    chart, errors = chart_and_errors(moving_blob, normalizer, truth[None], truth - 1)
    title = ("+5 min", "2020-06-01 00:05 UTC", "rain (mm h⁻¹)")
    figure = animation.lead_figure(truth, forecast, model="physicnet", title=title, chart=chart, errors=errors)
    shown = [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in figure.axes if axes.images]
    assert np.array_equal(shown[0], truth, equal_nan=True)
    assert np.array_equal(shown[1], [[1.5, 4.0, np.nan]], equal_nan=True)
    assert np.array_equal(shown[2], [[0.5, 2.0, np.nan]], equal_nan=True)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["Observed", "PhysicNet", "Error, RMSE 1.46"]


def test_an_animation_knows_every_colour_of_the_middle_and_of_what_is_missing(
    moving_blob: Field, normalizer: Normalizer
) -> None:
    truth = np.ones((1, 2, 3))
    shades = animation.colours(*chart_and_errors(moving_blob, normalizer, truth, truth[0]))
    assert len(shades) == 3 * 256
    known = set(zip(shades[::3], shades[1::3], shades[2::3], strict=True))
    assert known >= {(0xD9, 0xD9, 0xD9), (0x33, 0x33, 0x33), (255, 255, 255), (247, 247, 247)}
