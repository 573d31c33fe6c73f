"""The listener for machines: metrics, alive, ready."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

import aiohttp
import pytest

from sluicegate.facts import Endpoint
from sluicegate.records import http
from sluicegate.records.metrics import Metrics

LOOPBACK = Endpoint(ip_address("127.0.0.1"), 0)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def get(client: aiohttp.ClientSession, served: http.Served, path: str) -> tuple[int, str, str]:
    async with client.get(f"http://{served.host}:{served.port}{path}") as answer:
        return answer.status, await answer.text(), answer.headers["Content-Type"]


async def test_metrics_alive_and_ready(client: aiohttp.ClientSession, metrics: Metrics):
    served = await http.serve(LOOPBACK, metrics, {"records": lambda: None})
    try:
        status, body, kind = await get(client, served, "/metrics")
        assert (status, kind.split(";")[0]) == (200, "text/plain")
        assert "sluicegate_event_loop_lag_seconds_bucket" in body
        assert (await get(client, served, "/healthz"))[:2] == (200, "ok\n")
        assert (await get(client, served, "/readyz"))[:2] == (200, "ok records\n")
        assert (await get(client, served, "/debug"))[0] == 404
    finally:
        await served.close()


async def test_one_check_that_objects_is_enough_and_each_has_its_line(client: aiohttp.ClientSession, metrics: Metrics):
    trouble: list[str | None] = ["the disk is full"]

    def broken() -> str | None:
        raise KeyError("a secret")

    checks = {"policy": lambda: None, "records": lambda: trouble[0], "odd": broken}
    served = await http.serve(LOOPBACK, metrics, checks)
    try:
        status, body, _ = await get(client, served, "/readyz")
        assert status == 503
        assert body == "ok policy\nfailed records: the disk is full\nfailed odd: the check itself failed: KeyError\n"
        trouble[0] = None
        assert (await get(client, served, "/readyz"))[0] == 503
        assert (await get(client, served, "/healthz"))[0] == 200
    finally:
        await served.close()


async def test_a_port_in_use_is_told_to_the_caller(metrics: Metrics):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        await http.serve(Endpoint(ip_address("127.0.0.1"), taken.getsockname()[1]), metrics, {})


async def test_ipv6(client: aiohttp.ClientSession, metrics: Metrics):
    served = await http.serve(Endpoint(ip_address("::1"), 0), metrics, {})
    try:
        async with client.get(f"http://[::1]:{served.port}/readyz") as answer:
            assert answer.status == 200
    finally:
        await served.close()
