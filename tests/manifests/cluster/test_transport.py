"""Requests over HTTP: what is waited for, what is tried again, and what is told in one plain line."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from headrace.errors import ConfigurationError, UnavailableError
from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.connection import Connection, connect
from headrace.manifests.cluster.http import http_cluster
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.cluster.transport import Patience
from headrace.testing.cluster.faults import Fault
from headrace.testing.cluster.server import api_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.testing.cluster.server import ApiServer

QUICK = Patience(broken=0.6, busy=5.0, first_wait=0.02)
CONFIGS = Query("v1", "ConfigMap", "default")


def config(name: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


def ask(connection: Connection, action: Callable[[ClusterApi], Awaitable[Any]], patience: Patience = QUICK) -> Any:
    """The result of an action on the cluster of a connection."""

    async def opened() -> Any:
        async with http_cluster(connection, patience) as api:
            return await asyncio.wait_for(action(api), 30)

    return asyncio.run(opened())


def find(connection: Connection) -> Any:
    """All ConfigMaps of the default namespace."""
    return ask(connection, lambda api: api.find(CONFIGS))


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_cluster_is_waited_for(status: int, server: ApiServer) -> None:
    """For as long as it asks for in Retry-After, and not less."""
    server.call(lambda: server.faults.script.append(Fault(status, retry_after=1, path="/configmaps")))

    async def timed(api: ClusterApi) -> float:
        start = asyncio.get_running_loop().time()
        await api.find(CONFIGS)
        return asyncio.get_running_loop().time() - start

    assert 1.0 <= ask(Connection(server.url), timed) < 5.0


def test_a_cluster_that_stays_busy_is_given_up(server: ApiServer) -> None:
    """After the patience, in one line that names it."""
    server.call(lambda: server.faults.script.append(Fault(429, times=999, path="/configmaps")))
    with pytest.raises(UnavailableError, match=r"the cluster at http://\S+ does not answer: it is busy \(HTTP 429\)"):
        ask(Connection(server.url), lambda api: api.find(CONFIGS), Patience(busy=0.2, first_wait=0.05))


@pytest.mark.parametrize("status", [0, 500])
def test_a_dropped_connection_and_an_error_of_the_server_are_tried_again(status: int, server: ApiServer) -> None:
    """An apply too: doing it twice is doing it once."""
    server.call(lambda: server.faults.script.append(Fault(status, times=2, method="PATCH")))
    found = ask(Connection(server.url), lambda api: api.apply(config("a")))
    assert found["metadata"]["name"] == "a"
    assert server.call(lambda: [each.split("/")[0] for each in server.faults.seen]).count("PATCH ") == 3


def test_a_lasting_error_of_the_server_is_told_in_its_words(server: ApiServer) -> None:
    """Such as a webhook that does not answer."""
    server.call(lambda: server.faults.script.append(Fault(500, times=99, method="PATCH")))
    with pytest.raises(RefusedError, match="ConfigMap default/a: scripted fault 500"):
        ask(Connection(server.url), lambda api: api.apply(config("a")))


def test_nobody_at_the_address_is_one_plain_line() -> None:
    """With the address, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="does not answer") as fault:
            find(Connection(url, name="lab"))
    assert url in str(fault.value)
    assert "lab at" in str(fault.value)
    assert "\n" not in str(fault.value)


def test_unknown_credentials_are_told_without_showing_them() -> None:
    """An expired token is the usual reason."""
    with api_server(token="right") as server, pytest.raises(RefusedError, match="log in") as fault:
        find(Connection(server.url, authorization=lambda: "Bearer top-secret"))
    assert fault.value.reason == "unauthenticated"
    assert "top-secret" not in str(fault.value)


def test_what_is_no_cluster_is_told_so() -> None:
    """A login page answers everything with 200 and HTML."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>log in</html>", content_type="text/html")

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", page)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with http_cluster(Connection(url), QUICK) as api:
                with pytest.raises(ConfigurationError, match="text/html, not as a cluster does"):
                    await api.find(CONFIGS)
        finally:
            await runner.cleanup()

    asyncio.run(run())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate to serve with")
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return paths


def serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What the server shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


def test_a_trusted_certificate_is_enough(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """The kubeconfig names the authority, and the token goes over the secure connection."""
    with api_server(tls=serving(certificate), token="right") as server:
        path = server.kubeconfig(tmp_path / "config", token="right", authority=certificate[0])
        assert find(connect(kubeconfig=str(path))).items == ()


def test_an_unknown_certificate_is_refused_in_one_line(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """At once, and before the token is sent."""
    with api_server(tls=serving(certificate), token="right") as server:
        path = server.kubeconfig(tmp_path / "config", token="right")
        with pytest.raises(ConfigurationError, match=r"No secure connection to test at https://.*self-signed") as fault:
            find(connect(kubeconfig=str(path)))
        assert server.call(lambda: server.faults.seen) == []
    assert "\n" not in str(fault.value)


def test_tls_to_a_server_without_it_is_told_in_one_line(server: ApiServer) -> None:
    """No traceback of the ssl module."""
    url = server.url.replace("http:", "https:")
    with pytest.raises(ConfigurationError, match="No secure connection") as fault:
        find(Connection(url, tls=ssl.create_default_context()))
    assert "\n" not in str(fault.value)


def test_a_long_list_is_read_page_by_page(server: ApiServer) -> None:
    """Each item once; a page whose version is gone meanwhile begins the list anew."""
    server.call(lambda: [server.store.put(config(f"c{number}")) for number in range(1201)])
    server.call(lambda: server.faults.script.append(Fault(410, path="/configmaps", after=1)))
    found = find(Connection(server.url))
    assert len({each["metadata"]["name"] for each in found.items}) == len(found.items) == 1201


def test_a_watch_that_the_server_ends_just_ends(server: ApiServer) -> None:
    """Whoever watches goes on from the last version."""

    async def watch(api: ClusterApi) -> list[str]:
        seen = []
        version = (await api.find(CONFIGS)).version
        for name in ("a", "b"):
            async with aclosing(api.watch(CONFIGS, version)) as changes:
                await api.apply(config(name))
                async for change in changes:
                    seen.append(change.resource["metadata"]["name"])
                    version = change.resource["metadata"]["resourceVersion"]
                    await asyncio.to_thread(server.call, server.faults.end_watches)
        return seen

    assert ask(Connection(server.url), watch) == ["a", "b"]


def test_a_cluster_behind_a_path_is_reached(server: ApiServer) -> None:
    """As gateways for many clusters have it: the address's path stands before every other."""
    with pytest.raises(RefusedError):
        find(Connection(f"{server.url}/k8s/clusters/c-1"))
    assert server.call(lambda: server.faults.seen) == ["GET /k8s/clusters/c-1/api/v1"]
