"""A proxy before a server that lets so many requests through, and then fails in one of several ways until mended."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class Failure(Enum):
    """How a server is lost. The first request that fails is carried out, except for an error: its answer is lost."""

    LOST = "closes connections without an answer"
    ERROR = "answers 500"
    SILENT = "never answers"


class Proxy(http.server.ThreadingHTTPServer):
    """Hands requests on to a port of this machine, until it is told to fail."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = port
        self.failure = Failure.LOST
        self.mended = threading.Event()
        self._turn = threading.Lock()
        self.mend()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fail(self, failure: Failure, after: int) -> None:
        """Fail from the request on that comes after so many."""
        self.mended.clear()
        self.failure, self.left, self.count, self.failed = failure, after, 0, 0

    def mend(self) -> None:
        """Let all requests through, and let go of those that wait; start to count anew."""
        self.left, self.count, self.failed, self.changes = None, 0, 0, list[str]()
        self.mended.set()

    def admit(self) -> tuple[bool, bool]:
        """Count a request; say whether it is carried out, and whether it is answered."""
        with self._turn:
            self.count += 1
            is_answered = self.left is None or self.count <= self.left
            self.failed += not is_answered
            is_lost_on_the_way = not is_answered and self.failed == 1 and self.failure is not Failure.ERROR
            return is_answered or is_lost_on_the_way, is_answered


class Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_carried_out, is_answered = self.server.admit()
        if self.command != "GET" and not self.path.endswith("/search"):
            self.server.changes.append(f"{self.command} {self.path}")
        self.close_connection = True
        if is_carried_out:
            status, headers, answer = self.hand_on(body)
        if is_answered:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in {"connection", "transfer-encoding", "content-length", "date", "server"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        elif self.server.failure is Failure.ERROR:
            self.send_error(500)
        elif self.server.failure is Failure.SILENT:
            self.server.mended.wait()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def hand_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def log_message(self, *_: object) -> None: ...


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    with Proxy(port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.mend()
        server.shutdown()
