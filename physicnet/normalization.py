"""The way from physical values to the values that networks see, and back.

All functions work alike on numpy arrays and on torch tensors, and let gradients through; torch itself is not imported.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite, log10
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float

from physicnet.fields import DataError

# A value at the threshold itself comes back from single precision a few 1e-6 dB below it, and is still rain.
ROUNDING_DB = 1e-3
# A variable that varies by less than this share of its mean is constant to single precision.
SINGLE_PRECISION = 2.0**-23


@runtime_checkable
class Transform(Protocol):
    """A pointwise function of the values and its inverse; NaN stays NaN."""

    @property
    def kind(self) -> str:
        """The name that `params.yaml` gives it."""
        ...

    def forward(self, values: Any) -> Any:
        """From physical units."""
        ...

    def inverse(self, values: Any) -> Any:
        """To physical units."""
        ...


@dataclass(frozen=True)
class Identity:
    """Values stay as they are."""

    kind: str = "identity"

    def forward(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Return the values."""
        return values

    def inverse(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Return the values."""
        return values


@dataclass(frozen=True)
class Decibel:
    """10·log10 of a rate; rates below `threshold` (in physical units) become `floor` (in dB) and return as zero.

    So zero and everything from `threshold` on come back as they were.
    """

    threshold: float
    floor: float
    kind: str = "decibel"

    def forward(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn rates into dB."""
        functions = _functions_of(values)
        dry = values < self.threshold
        # The inner `where` keeps the logarithm, and so its gradient, finite where the outer one discards it.
        rates = functions.where(dry, self.threshold, values)
        return functions.where(dry, self.floor, 10 * functions.log10(rates))

    def inverse(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn dB into rates."""
        lowest = 10 * log10(self.threshold)
        cut = lowest - min(ROUNDING_DB, (lowest - self.floor) / 2)
        return _functions_of(values).where(values < cut, 0.0, 10 ** (values / 10))


@dataclass(frozen=True)
class Power:
    """x^exponent of a quantity that is never negative; with 0 < exponent < 1, what lies below 0 becomes 0.

    Between the values themselves (exponent 1), in whose mean a few large ones are all that counts, and their logarithm,
    which has no 0.
    """

    exponent: float
    kind: str = "power"

    def forward(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn values into their power."""
        return _power(values, self.exponent)

    def inverse(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """Turn powers into values."""
        return _power(values, 1 / self.exponent)


def _power(values: Float[Any, "..."], exponent: float) -> Float[Any, "..."]:
    where, nothing = _functions_of(values).where, values <= 0
    # The inner `where` keeps the power's gradient finite where the outer one discards it.
    return where(nothing, 0.0, where(nothing, 1.0, values) ** exponent)


TRANSFORMS: dict[str, Callable[..., Transform]] = {"identity": Identity, "decibel": Decibel, "power": Power}


def transform_from_dict(entry: dict[str, Any]) -> Transform:
    """Build a transform from its `kind` and its parameters.

    Raises:
        DataError: if no transform is of that kind.
    """
    if entry["kind"] not in TRANSFORMS:
        raise DataError(f"unknown transform {entry['kind']!r}; known are {sorted(TRANSFORMS)}")
    return TRANSFORMS[entry["kind"]](**entry)


@dataclass(frozen=True)
class Standardization:
    """A variable's transform, then (x - mean) / std of the transformed training values."""

    variable: str
    transform: Transform
    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (isfinite(self.mean) and isfinite(self.std) and self.std > SINGLE_PRECISION * abs(self.mean)):
            raise DataError(
                f"variable {self.variable} cannot be standardised with mean {self.mean} and standard deviation "
                f"{self.std}: its training part is constant, wholly missing or not finite"
            )

    def normalize(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """From physical units to standardised values."""
        return (self.transform.forward(values) - self.mean) / self.std

    def denormalize(self, values: Float[Any, "..."]) -> Float[Any, "..."]:
        """From standardised values to physical units."""
        return self.transform.inverse(values * self.std + self.mean)


@dataclass(frozen=True)
class Normalizer:
    """The standardisation of every variable, in the order of the channels."""

    channels: tuple[Standardization, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables, in the order of the channels."""
        return tuple(channel.variable for channel in self.channels)

    def normalize(self, values: Float[Any, "*batch c h w"]) -> Float[Any, "*batch c h w"]:
        """From physical units to standardised values."""
        self._check(values)
        return self._stack(values, [channel.normalize for channel in self.channels])

    def denormalize(self, values: Float[Any, "*batch c h w"]) -> Float[Any, "*batch c h w"]:
        """From standardised values to physical units."""
        self._check(values)
        return self._stack(values, [channel.denormalize for channel in self.channels])

    def _check(self, values: Any) -> None:
        if values.shape[-3] != len(self.channels):
            raise DataError(f"{values.shape[-3]} channels given, but {len(self.channels)} known: {self.variables}")

    @staticmethod
    def _stack(values: Any, functions: list[Any]) -> Any:
        parts = [function(values[..., index, :, :]) for index, function in enumerate(functions)]
        return _functions_of(values).stack(parts, axis=-3)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return what `from_dict` reads: plain lists, dictionaries, text and numbers."""
        return [asdict(channel) for channel in self.channels]

    @classmethod
    def from_dict(cls, entries: list[dict[str, Any]]) -> "Normalizer":
        """Build the normalizer that `to_dict` described."""
        return cls(
            tuple(
                Standardization(
                    variable=entry["variable"],
                    transform=transform_from_dict(entry["transform"]),
                    mean=entry["mean"],
                    std=entry["std"],
                )
                for entry in entries
            )
        )

    @classmethod
    def load(cls, path: Path) -> "Normalizer":
        """Read the normalizer out of `statistics.json`.

        Raises:
            DataError: if there is no such file.
        """
        if not path.is_file():
            raise DataError(f"{path} does not exist; run the stage that writes it (dvc repro)")
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8"))["variables"])


def _functions_of(values: Any) -> Any:
    """Return the module, numpy or torch, whose functions work on `values`."""
    return sys.modules[type(values).__module__.partition(".")[0]]
