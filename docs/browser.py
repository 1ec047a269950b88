"""A headless Chromium that is told what to open, to do and to draw, by its DevTools protocol."""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

from physicnet.fields import DataError, written_whole

PATIENCE = 120.0  # seconds for a page to show what is waited for


class Page:
    """The one page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0

    def open(self, address: str, width: int, height: int) -> None:
        """Go to an address, in a window of so many pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url="about:blank")  # another fragment of the same address would load nothing
        self._call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """What a JavaScript expression gives."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, condition: str, *, rest: float = 3.0) -> None:
        """Wait until a JavaScript expression holds, and then a little for the drawing.

        Raises:
            DataError: if it does not come to hold.
        """
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise DataError(f"after {PATIENCE:.0f} seconds the page does not show what is waited for: {condition}")
            time.sleep(0.25)
        time.sleep(rest)

    def draw(self, target: Path) -> None:
        """Write a picture of what is in the window."""
        picture = base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])
        with written_whole(target) as partial:
            partial.write_bytes(picture)

    def _call(self, method: str, **values: object) -> dict[str, Any]:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": values}))
        while True:
            answer = json.loads(self._connection.recv(timeout=PATIENCE))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise DataError(f"the browser refuses {method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result


@contextmanager
def browser() -> Iterator[Page]:
    """Start a Chromium that is found on the path; it ends with the block.

    Raises:
        DataError: if there is none.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise DataError("no chromium on the path; apt-get install chromium brings it")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
    with TemporaryDirectory() as profile:
        command = [program, *options, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            with urlopen(f"http://{_address(process)}/json/list", timeout=PATIENCE) as answer:
                (page,) = [each for each in json.loads(answer.read()) if each["type"] == "page"]
            with connect(page["webSocketDebuggerUrl"], max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    """Where the browser listens, as it says when it starts."""
    assert process.stderr is not None, "it was asked for"
    for line in process.stderr:
        found = re.search(r"DevTools listening on ws://([^/]+)/", line)
        if found:
            return found[1]
    raise DataError("the browser ended before it listened")
