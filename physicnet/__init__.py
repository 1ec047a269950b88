"""Forecasts of gridded physical fields. `physicnet.load(model)` returns a trained model; nothing is loaded before."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from physicnet.forecasting.loading import load as load


def __getattr__(name: str) -> Any:
    """Hand on `load` when it is asked for: `import physicnet` alone stays light."""
    if name == "load":
        return import_module("physicnet.forecasting.loading").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
