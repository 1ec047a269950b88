"""One Prefect server for all tests of flows, and a DVC project that knows nothing of physicnet."""

from collections.abc import Iterator
from pathlib import Path

import dvc_folder
import pytest
import yaml
from dvc_project import STAGES
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project in the current folder; its stages measure something without knowing physicnet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").write_text("\n")
    (tmp_path / "aside").write_text("")
    (tmp_path / "params.yaml").write_text("score: 1")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody listens there
    dvc_folder.init(tmp_path)
    return tmp_path
