"""Pointwise, invertible functions that make the distribution of a variable's values easier to learn.

All work alike on numpy arrays and on torch tensors, and let gradients through; torch itself is not imported. NaN
(missing) stays NaN, in both directions. On its domain each is undone by its inverse, to single precision.
"""

import sys
from dataclasses import dataclass
from math import inf, log10
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float

# A value at the threshold itself comes back from single precision a few 1e-6 dB below it, and is still rain.
ROUNDING_DB = 1e-3


@runtime_checkable
class Transform(Protocol):
    """A pointwise function of the values and its inverse; NaN stays NaN."""

    @property
    def kind(self) -> str:
        """The name that `params.yaml` gives it."""
        ...

    @property
    def smallest(self) -> float:
        """The least value that it is meant for; what lies below is refused where data come in."""
        ...

    def forward(self, values: Any) -> Any:
        """From physical units."""
        ...

    def inverse(self, values: Any) -> Any:
        """To physical units."""
        ...


@dataclass(frozen=True)
class Decibel:
    """10·log10 of a rate; rates below `threshold` (in physical units) become `floor` (in dB) and return as zero.

    So zero and everything from `threshold` on come back as they were. Negative values lie below the threshold too: they
    are no rain, and return as zero.
    """

    threshold: float
    floor: float
    kind: str = "decibel"

    @property
    def smallest(self) -> float:
        """None: the floor takes everything."""
        return -inf

    def forward(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn rates into dB."""
        functions = functions_of(values)
        dry = values < self.threshold
        # The inner `where` keeps the logarithm, and so its gradient, finite where the outer one discards it.
        rates = functions.where(dry, self.threshold, values)
        return functions.where(dry, self.floor, 10 * functions.log10(rates))

    def inverse(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn dB into rates."""
        lowest = 10 * log10(self.threshold)
        cut = lowest - min(ROUNDING_DB, (lowest - self.floor) / 2)
        return functions_of(values).where(values < cut, 0.0, 10 ** (values / 10))


@dataclass(frozen=True)
class Power:
    """x^exponent of a quantity that is never negative, with 0 < exponent < 1; 0.5 is the square root.

    Between the values themselves (exponent 1), in whose mean a few large ones are all that counts, and their logarithm,
    which has no 0. Zero stays zero. Negative values in data are refused; here, as in forecasts, what lies below 0
    becomes 0, in both directions.
    """

    exponent: float
    kind: str = "power"

    @property
    def smallest(self) -> float:
        """Zero."""
        return 0.0

    def forward(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn values into their power."""
        return _power(values, self.exponent)

    def inverse(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn powers into values."""
        return _power(values, 1 / self.exponent)


def _power(values: Float[Any, "..."], exponent: float) -> Float[Any, "..."]:
    where, nothing = functions_of(values).where, values <= 0
    # The inner `where` keeps the power's gradient finite where the outer one discards it.
    return where(nothing, 0.0, where(nothing, 1.0, values) ** exponent)


@dataclass(frozen=True)
class Log1p:
    """log(1 + x / scale) of a quantity that is never negative; `scale` is in the variable's units.

    Nearly linear far below `scale`, nearly a logarithm far above it. Zero stays zero. Negative values in data are
    refused; here, as in forecasts, what lies below 0 becomes 0, in both directions.
    """

    scale: float
    kind: str = "log1p"

    @property
    def smallest(self) -> float:
        """Zero."""
        return 0.0

    def forward(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn values into logarithms."""
        functions = functions_of(values)
        return functions.where(
            values <= 0, 0.0, functions.log1p(functions.where(values <= 0, 0.0, values) / self.scale)
        )

    def inverse(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn logarithms into values."""
        functions = functions_of(values)
        return functions.where(values <= 0, 0.0, self.scale * functions.expm1(values))


TRANSFORMS: dict[str, type[Decibel | Power | Log1p]] = {"decibel": Decibel, "power": Power, "log1p": Log1p}


def transform_from_dict(entry: dict[str, Any]) -> Transform:
    """Build a transform from its `kind` and its parameters, as `params.yaml` and `statistics.json` spell them."""
    return TRANSFORMS[entry["kind"]](**entry)


def functions_of(values: Any) -> Any:
    """Return the module, numpy or torch, whose functions work on `values`."""
    return sys.modules[type(values).__module__.partition(".")[0]]
