"""Runs ingest on a folder, for the tests of the archive."""

from pathlib import Path

import xarray as xr
from samples import clip_config, ingest_config

from physicnet.data.catalogue import Catalogue
from physicnet.data.ingest import ingest
from physicnet.fields import Field


def run(raw: Path, out: Path | None = None, **changes: object) -> tuple[Field, Catalogue]:
    """Ingest into `out`, beside the raw folder unless told otherwise."""
    out = out or raw.parent
    catalogue = ingest(
        ingest_config(**changes),
        clip_config(),
        raw=raw,
        fields=out / "fields.zarr",
        catalogue=out / "catalogue",
        resume=out / "state",
    )
    return Field.open(out / "fields.zarr"), catalogue


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def outputs(out: Path) -> dict[str, bytes]:
    """Everything that ingest has written there but for what it keeps for the next run."""
    return {name: content for name, content in contents(out).items() if name.startswith(("fields.zarr", "catalogue"))}


def fates(catalogue: Catalogue) -> dict[str, str]:
    return dict(zip(catalogue.files["path"], catalogue.files["status"], strict=True))


def reason(catalogue: Catalogue, path: str) -> str:
    return str(catalogue.files.set_index("path").loc[path, "reason"])


def write(dataset: xr.Dataset, path: Path) -> None:
    dataset.to_netcdf(path)
