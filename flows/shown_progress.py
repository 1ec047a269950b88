"""How far a training has come, as a progress artifact in Prefect, learned from the lines that it prints."""

import re
import time
from types import TracebackType
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from physicnet.progress import Step

INTERVAL = 5.0  # seconds between two updates, at least


class ShownProgress:
    """The progress of one stage, within a `with` block; a stage that prints no steps has none.

    The block's end shows the last step that was told, so that a stage that fails leaves how far it has come. A server
    that cannot be reached costs the artifact and no more: the training goes on.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._artifact: UUID | None = None
        self._told: Step | None = None
        self._shown: Step | None = None
        self._next = 0.0

    def __enter__(self) -> "ShownProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._show()

    def read(self, line: str) -> None:
        """Take note of one line that the stage has printed."""
        step = Step.read(line)
        if step is None:
            return
        self._told = step
        if time.monotonic() >= self._next:
            self._show()
            self._next = time.monotonic() + INTERVAL

    def _show(self) -> None:
        if self._told is None or self._told == self._shown:
            return
        percent, text = self._told.percent, f"{self._stage}: {self._told.words}"
        try:
            if self._artifact is None:
                key = f"progress-{re.sub('[^a-z0-9]+', '-', self._stage.lower())}"
                made = create_progress_artifact(percent, key=key, description=text)
                assert isinstance(made, UUID), "it is not awaited here"
                self._artifact = made
            else:
                update_progress_artifact(self._artifact, percent, description=text)
        except httpx.HTTPError as error:
            get_run_logger().warning("the progress of %s cannot be shown: %s", self._stage, error)
            return
        self._shown = self._told
