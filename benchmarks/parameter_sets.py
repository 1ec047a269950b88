"""The parameter sets of data sets: a file of sets/ has what differs from params.yaml, an override of DVC's a line.

`make set NAME=...` hands them to `dvc exp run`; here the same parameters are had without a run. Lines that begin with
`#` are comments.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dvc.utils.hydra import apply_overrides

from physicnet.config import Params, load_params

FOLDER = Path(__file__).parents[1] / "sets"


def names() -> list[str]:
    """Return what the sets are called."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def overrides(name: str) -> list[str]:
    """Return the overrides of a set, in their order."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def read(name: str, further: Sequence[str] = ()) -> Params:
    """Return the params.yaml of this folder with the overrides of a set and further ones, which DVC itself applies.

    Raises:
        ConfigError: if the result cannot be used.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        shutil.copy("params.yaml", path)
        apply_overrides(str(path), [*overrides(name), *further])
        return load_params(path)
