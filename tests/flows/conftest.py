from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def _server() -> Iterator[None]:
    """A server of Prefect for all flows of the session: it takes a quarter of a minute to start."""
    with prefect_test_harness(server_startup_timeout=120):
        yield
