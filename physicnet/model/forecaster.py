"""What every model and every baseline can do: forecast the frames that follow a few observed ones."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from physicnet.fields import Field


@runtime_checkable
class Forecaster(Protocol):
    """The one interface through which evaluation sees models and baselines."""

    name: str

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Forecast `num_leads` frames after the last frame of `past`.

        Values are in the physical units of `past`, leads in its time steps. NaN stands only where the model can say
        nothing at all.
        """
        ...
