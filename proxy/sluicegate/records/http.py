"""/metrics, /healthz and /readyz, on a listener of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from sluicegate.facts import Endpoint
from sluicegate.records.metrics import Metrics

type Check = Callable[[], str | None]
"""None where all is well, else one sentence that says what is not."""


class Served:
    """The running listener: host and port as they were bound, also for port 0."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self.host = host
        self.port = port

    async def close(self) -> None:
        await self._runner.cleanup()


async def serve(endpoint: Endpoint, metrics: Metrics, checks: Mapping[str, Check]) -> Served:
    """Serves until closed. Raises OSError where the port cannot be had.

    /healthz answers as long as the event loop turns; /readyz is 200 when no check objects, else 503, and has a line
    for each check.
    """
    app = web.Application(client_max_size=0)
    app.router.add_get("/metrics", _metrics(metrics))
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/readyz", _ready(checks))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=15.0, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, str(endpoint.address), endpoint.port).start()
    except OSError:
        await runner.cleanup()
        raise
    host, port = runner.addresses[0][:2]
    return Served(runner, host, port)


type _Handler = Callable[[web.Request], Awaitable[web.Response]]


def _metrics(metrics: Metrics) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer


async def _alive(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _ready(checks: Mapping[str, Check]) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        found = {name: _ask(check) for name, check in checks.items()}
        lines = [f"ok {name}" if said is None else f"failed {name}: {said}" for name, said in found.items()]
        ready = all(said is None for said in found.values())
        return web.Response(text="\n".join([*lines, ""]), status=200 if ready else 503)

    return answer


def _ask(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  # what cannot be checked is not ready
        return f"the check itself failed: {type(error).__name__}"
