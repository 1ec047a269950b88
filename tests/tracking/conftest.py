from pathlib import Path

import pytest

from physicnet.tracking.store import Store


@pytest.fixture(scope="module")
def store(repository: Path) -> Store:
    """The default store, outside DVC and outside any flow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Store(repository)
