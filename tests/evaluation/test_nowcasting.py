import builtins
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from moving import blob

from physicnet.config import ConfigError
from physicnet.evaluation.baselines import Persistence
from physicnet.evaluation.nowcasting import Anvil, LucasKanade, SProg, import_pysteps
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer

METHODS = [LucasKanade, SProg, Anvil]
each_method = pytest.mark.parametrize("method", METHODS)


def rmse(forecast: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


def zero_mean(field: Field) -> np.ndarray:
    return np.zeros(field.shape[1:], np.float32)


@pytest.fixture(autouse=True)
def _needs_pysteps(request: pytest.FixtureRequest) -> None:
    if "missing" not in request.fixturenames:
        pytest.importorskip("pysteps")
        pytest.importorskip("cv2")


@each_method
def test_each_goes_on_with_a_known_motion(method: type, moving_blob: Field, normalizer: Normalizer) -> None:
    truth, mean = moving_blob.frames(4, 8), zero_mean(moving_blob)
    forecast = method(normalizer, mean).forecast(moving_blob.isel(0, 4), 4)
    stays = Persistence(mean).forecast(moving_blob.isel(0, 4), 4)
    assert np.isfinite(forecast).all()
    assert (forecast >= 0).all()
    assert rmse(forecast, truth) < 0.6 * rmse(stays, truth)


@each_method
def test_each_says_something_where_a_part_was_not_observed(
    method: type, field_of: Callable[..., Field], normalizer: Normalizer
) -> None:
    values = blob(4)
    values[:, :, 45:] = np.nan
    field = field_of(values)
    assert np.isfinite(method(normalizer, zero_mean(field)).forecast(field, 3)).all()


@each_method
def test_each_forecasts_no_rain_from_none(method: type, field_of: Callable[..., Field], normalizer: Normalizer) -> None:
    field = field_of(np.zeros((4, 40, 44)))
    assert (method(normalizer, zero_mean(field)).forecast(field, 2) == 0).all()


def test_s_prog_filters_what_changes_fast(field_of: Callable[..., Field], normalizer: Normalizer) -> None:
    noise = 10 ** np.random.default_rng(0).normal(0, 0.3, (4, 48, 60))
    field = field_of(noise * (1 + blob(4)))

    def variation(frame: np.ndarray) -> float:
        """Of the logarithm, from column to column."""
        return float(np.diff(np.log10(frame), axis=-1).std())

    forecast = SProg(normalizer, zero_mean(field)).forecast(field, 3)
    assert variation(forecast[2]) < 0.2 * variation(field.frames(3, 4)[0])
    assert np.corrcoef(forecast[2].ravel(), blob(7)[6].ravel())[0, 1] > 0.5


@pytest.mark.parametrize("method", [SProg, Anvil])
def test_methods_for_rain_refuse_other_quantities(
    method: type, field_of: Callable[..., Field], normalizer: Normalizer
) -> None:
    field = field_of(blob(4))
    field.dataset["rain"].attrs["units"] = "K"
    with pytest.raises(DataError, match=rf"{method.name} forecasts rain rates in mm h-1, but rain is in 'K'"):
        method(normalizer, zero_mean(field)).forecast(field, 2)


def test_anvil_refuses_a_past_of_two_frames(moving_blob: Field, normalizer: Normalizer) -> None:
    with pytest.raises(DataError, match="anvil needs the changes between three frames, 2 are there"):
        Anvil(normalizer, zero_mean(moving_blob)).forecast(moving_blob.isel(0, 2), 2)


@pytest.mark.parametrize("missing", ["pysteps", "cv2"])
@each_method
def test_each_names_the_package_it_lacks_and_the_remedy(
    method: type, missing: str, normalizer: Normalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "pysteps":  # else OpenCV would be looked for first
        monkeypatch.setitem(sys.modules, "cv2", sys)
    original = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    expected = rf"{method.name} needs {missing}.*pip install -e '.\[baselines\]', or take {method.name} out"
    with pytest.raises(ConfigError, match=expected):
        method(normalizer, np.zeros((1, 2, 2), np.float32))


def test_pysteps_says_nothing(capsys: pytest.CaptureFixture[str], moving_blob: Field, normalizer: Normalizer) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pysteps"]:
        del sys.modules[name]
    import_pysteps("lucas_kanade")
    SProg(normalizer, zero_mean(moving_blob)).forecast(moving_blob.isel(0, 4), 1)
    assert capsys.readouterr().out == ""
