from pathlib import Path

import pytest
from forecasting import samples

from physicnet.forecasting.loading import Model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.save(tmp_path_factory.mktemp("models") / "model.safetensors", samples.record())


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Model:
    return samples.model(checkpoint)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Six frames, from 00:00 to 00:25."""
    return samples.write(tmp_path / "observed.nc", samples.record())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Twelve frames from 00:00 to 00:55, three to a file."""
    folder, record = tmp_path / "archive", samples.record(12)
    folder.mkdir()
    for start in range(0, 12, 3):
        samples.write(folder / f"{start:02}.nc", record.isel(start, start + 3))
    return folder
