"""A registered model behind MLflow's scoring server, which this machine alone reaches.

The server is MLflow's, and so are its addresses and the form of requests and answers. What it would not answer with a
reason is refused before it comes there: tables (CSV, Parquet), whose errors MLflow sends with a stack trace and which
hold no frames; bodies without a length, or too long; and JSON that cannot be parsed for how deep or long it is.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from physicnet.ports import HOST
from physicnet.tracking import registered
from physicnet.tracking.store import Store

JSON = "application/json"
KINDS = (JSON, f"{JSON};charset=utf-8")
MEBIBYTE = 2**20


def serve(store: Store, address: str, port: int, most_mib: int) -> None:
    """Answer requests to `models:/physicnet@ALIAS` or `models:/physicnet/VERSION` until told to end.

    Args:
        store: where the model is registered.
        address: the model.
        port: of this machine.
        most_mib: what the body of a request may have, in MiB.

    Raises:
        HistoryError: if the store has no such model.
    """
    with TemporaryDirectory() as folder:
        app = application(registered.fetch(store, address, Path(folder)), most_mib)
    uvicorn.run(app, host=HOST, port=port)


def application(model: Path, most_mib: int) -> FastAPI:
    """Return MLflow's scoring server of a model in a folder, which has a reason for whatever it refuses."""
    from mlflow.pyfunc.scoring_server import init, load_model_with_mlflow_config

    app: FastAPI = init(load_model_with_mlflow_config(str(model)))  # type: ignore[no-untyped-call]

    @app.middleware("http")
    async def admit(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = _refusal(request.headers, most_mib) if request.method == "POST" else None
        if refusal is None:
            return await call_next(request)
        async for _ in request.stream():  # who is still sending would find the connection closed, and no reason
            pass
        return refusal

    for error in (RecursionError, ValueError):  # of the parser: the model itself raises none of them
        app.add_exception_handler(error, _unparsed)
    return app


def _refusal(headers: Mapping[str, str], most_mib: int) -> Response | None:
    """Refuse a body by what its headers tell; None if it may come."""
    kind, length = headers.get("content-type", ""), headers.get("content-length")
    if kind.replace(" ", "").lower() not in KINDS:
        return _refused(415, f"the content type is {kind!r}; send JSON in UTF-8, and say so: Content-Type: {JSON}")
    if length is None:
        return _refused(411, "the request does not tell the length of its body; send Content-Length")
    if int(length) > most_mib * MEBIBYTE:
        return _refused(
            413,
            f"the body has {int(length) / MEBIBYTE:.1f} MiB, {most_mib} are allowed; send only the frames that the "
            "model takes, or serve with a higher --body",
        )
    return None


async def _unparsed(_: Request, error: Exception) -> Response:
    return _refused(400, f"the body cannot be parsed: {error}; send the arrays as the documentation shows them")


def _refused(status: int, reason: str) -> Response:
    """Return a refusal in the form of MLflow's own."""
    return JSONResponse({"error_code": "BAD_REQUEST", "message": reason}, status)
