"""The nowcasting methods of pysteps as baselines: Lucas-Kanade extrapolation, S-PROG and ANVIL.

They need the extra `baselines` (pysteps, and OpenCV for its motion field). All take their motion from the same
Lucas-Kanade estimate and the same completed frames; `benchmarks/README.md` has the settings that were compared.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from jaxtyping import Float32, Float64

from physicnet.config import ConfigError
from physicnet.evaluation.extrapolation import flow_images, last_frame
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer
from physicnet.transforms import Decibel

Frame = Float32[np.ndarray, "c h w"]
Frames = Float32[np.ndarray, "k c h w"]
Images = Float64[np.ndarray, "t h w"]

DECLUSTERING = 5  # cells within which sparse vectors of Lucas-Kanade are merged into one; pysteps' default is 20
RAIN_UNITS = "mm h-1"
RAIN = 0.1  # mm/h, from which on pysteps' examples call it rain
DECIBEL = Decibel(RAIN, -15.0)  # of S-PROG's cascade: pysteps' examples
ORDER = 2  # of the autoregressions of S-PROG and ANVIL, as published; lower where the past is too short
INFLOW = {"map_coordinates_mode": "nearest"}  # what enters the frame is like its edge


@dataclass(frozen=True, eq=False)
class LucasKanade:
    """The last frame carried along pysteps' Lucas-Kanade motion field by pysteps' semi-Lagrangian extrapolation.

    Raises:
        ConfigError: at once if pysteps, or OpenCV that its motion field needs, is not installed.
    """

    name = "lucas_kanade"

    normalizer: Normalizer
    mean: Frame

    def __post_init__(self) -> None:
        import_pysteps(self.name)

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Extrapolate the last frame along the motion of all past frames."""
        extrapolate = import_pysteps(self.name).extrapolation.get_method("semilagrangian")

        def one(frames: Images, velocity: Float64[np.ndarray, "2 h w"]) -> np.ndarray:
            return np.asarray(extrapolate(frames[-1], velocity, num_leads, **INFLOW))

        return _by_channel(self, past, 1, one)


@dataclass(frozen=True, eq=False)
class SProg:
    """Spectral prognosis (Seed 2003): every scale of dB of rain rate fades as fast as it did in the past.

    Without pysteps' matching of probabilities to the last frame: that gives back what the method filters out, and costs
    it squared error. `Sharp` does the same to any forecaster.

    Raises:
        ConfigError: at once if pysteps or OpenCV is not installed.
    """

    name = "s_prog"

    normalizer: Normalizer
    mean: Frame

    def __post_init__(self) -> None:
        import_pysteps(self.name)

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Extrapolate the cascade of rain rates; `past` holds nothing else.

        Raises:
            DataError: if a variable is no rain rate in mm h-1.
        """
        _require_rain(self.name, past)
        method = import_pysteps(self.name).nowcasts.get_method("sprog")
        order = min(ORDER, past.shape[0] - 1)

        def one(frames: Images, velocity: Float64[np.ndarray, "2 h w"]) -> np.ndarray:
            if (frames < RAIN).all():  # pysteps finds no cascade in nothing
                return np.zeros((num_leads, *frames.shape[1:]))
            settings = {"precip_thr": 10 * np.log10(RAIN), "ar_order": order, "probmatching_method": None}
            cascade = method(DECIBEL.forward(frames), velocity, num_leads, extrap_kwargs=INFLOW, **settings)
            return np.asarray(DECIBEL.inverse(cascade))

        return _by_channel(self, past, order + 1, one)


@dataclass(frozen=True, eq=False)
class Anvil:
    """ANVIL (Pulkkinen et al. 2020): growth and decay by scale and by place, from the changes of the past frames.

    Raises:
        ConfigError: at once if pysteps or OpenCV is not installed.
    """

    name = "anvil"

    normalizer: Normalizer
    mean: Frame

    def __post_init__(self) -> None:
        import_pysteps(self.name)

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Extrapolate the rain rates and their changes; `past` holds nothing else.

        Raises:
            DataError: if a variable is no rain rate in mm h-1, or the past has fewer than three frames.
        """
        _require_rain(self.name, past)
        order = min(ORDER, past.shape[0] - 2)
        if order < 1:
            raise DataError(
                f"anvil needs the changes between three frames, {past.shape[0]} are there: raise clip.frames_in, or "
                "take anvil out of evaluate.baselines"
            )
        method = import_pysteps(self.name).nowcasts.get_method("anvil")
        extrapolate = import_pysteps(self.name).extrapolation.get_method("semilagrangian")

        def one(frames: Images, velocity: Float64[np.ndarray, "2 h w"]) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                grown = method(frames, velocity, num_leads, ar_order=order, extrap_kwargs=INFLOW)
            # Where nothing changed for far around, its parameters are 0/0: what does not change is carried on.
            return np.where(np.isnan(grown), extrapolate(frames[-1], velocity, num_leads, **INFLOW), grown)

        return _by_channel(self, past, order + 2, one)


def _by_channel(
    model: LucasKanade | SProg | Anvil,
    past: Field,
    num_frames: int,
    one: Callable[[Images, Float64[np.ndarray, "2 h w"]], np.ndarray],
) -> Frames:
    """Forecast each variable by `one` from its last `num_frames` completed frames and its motion."""
    motion = import_pysteps(model.name).motion.get_method("LK")
    images = flow_images(past, model.normalizer)
    count = past.shape[0]
    frames = np.stack(
        [last_frame(past.isel(0, stop), model.mean) for stop in range(count - num_frames + 1, count + 1)]
    ).astype(np.float64)
    channels = []
    with contextlib.redirect_stdout(io.StringIO()):  # the methods of pysteps print their settings
        for channel in range(past.shape[1]):
            velocity = motion(images[:, channel], decl_scale=DECLUSTERING)
            channels.append(one(frames[:, channel], velocity))
    return np.stack(channels, axis=1).astype(np.float32)


def _require_rain(name: str, past: Field) -> None:
    for variable, units in past.units.items():
        if units != RAIN_UNITS:
            raise DataError(
                f"{name} forecasts rain rates in {RAIN_UNITS}, but {variable} is in {units!r}: take {name} out of "
                "evaluate.baselines in params.yaml"
            )


def import_pysteps(baseline: str) -> ModuleType:
    """Return pysteps, for the baseline of that name.

    Raises:
        ConfigError: if pysteps, or OpenCV that its motion field needs, is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pysteps prints where its settings are
            import cv2  # noqa: F401
            import pysteps
            import pysteps.extrapolation
            import pysteps.motion
            import pysteps.nowcasts
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the baseline {baseline} needs {error.name}, which is not installed: run "
            f"pip install -e '.[baselines]', or take {baseline} out of evaluate.baselines in params.yaml"
        ) from error
    return pysteps
