"""The REST face of the store: the addresses, verbs and answers of a Kubernetes API server (Kubernetes API concepts)."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

from headrace.manifests.cluster.api import Access, Query
from headrace.manifests.cluster.reference import Reference
from headrace.testing.cluster.kinds import groups_of
from headrace.testing.cluster.store import StatusError, selected
from headrace.testing.cluster.watching import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.manifests.cluster.api import ApiKind
    from headrace.manifests.resource import Resource
    from headrace.testing.cluster.faults import Faults
    from headrace.testing.cluster.store import ClusterStore

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_APPLY = "application/apply-patch+yaml"


def rest_app(store: ClusterStore, faults: Faults, token: str | None) -> web.Application:
    """The server as an aiohttp application; with a token it lets nobody in without."""
    app = web.Application(client_max_size=1 << 23)
    face = _Face(store, faults, token)
    app.router.add_route("*", "/{path:.*}", face.answer)
    return app


class _Face:
    def __init__(self, store: ClusterStore, faults: Faults, token: str | None) -> None:
        self._store = store
        self._faults = faults
        self._token = token

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request, faults first."""
        self._faults.seen.append(f"{request.method} {request.path}")
        if fault := self._faults.next(request.method, request.path):
            if fault.status == 0:
                return _hung_up(request)
            headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
            body = StatusError(fault.status, "Fault", f"scripted fault {fault.status}").body
            return web.json_response(body, status=fault.status, headers=headers)
        try:
            self._know(request)
            return await self._route(request)
        except StatusError as refused:
            return web.json_response(refused.body, status=refused.status)

    def _know(self, request: web.Request) -> None:
        if self._token is not None and request.headers.get("Authorization") != f"Bearer {self._token}":
            raise StatusError(401, "Unauthorized", "Unauthorized")

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if path == "/version":
            major, minor = self._store.version.split(".")
            return web.json_response({"major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.0"})
        if path == "/api":
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        if path == "/apis":
            return web.json_response(self._groups())
        if path == _REVIEWS and request.method == "POST":
            if request.content_type != "application/json":
                # kubectl begins with protobuf, and takes this for an answer.
                raise StatusError(415, "UnsupportedMediaType", "this server takes application/json alone")
            return web.json_response(self._reviewed(await request.json()), status=201)
        words = path.split("/")[1:]
        if words[0] == "api":
            return await self._versioned(request, words[1], words[2:])
        if words[0] == "apis" and len(words) >= 3:  # noqa: PLR2004  # /apis/GROUP/VERSION
            return await self._versioned(request, "/".join(words[1:3]), words[3:])
        raise _no_such_address()

    def _groups(self) -> Resource:
        groups = [
            {"name": name, "versions": [{"groupVersion": f"{name}/{each}", "version": each} for each in versions]}
            for name, versions in groups_of(self._store.kinds).items()
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _reviewed(self, review: Resource) -> Resource:
        asked: Mapping[str, str] = review["spec"]["resourceAttributes"]
        names = (asked.get(key, "") for key in ("verb", "group", "resource", "namespace", "name"))
        access = Access(*names)
        return {**review, "status": {"allowed": not self._store.denies(access)}}

    async def _versioned(self, request: web.Request, api_version: str, words: list[str]) -> web.StreamResponse:
        kinds = {kind.plural: kind for (version, _), kind in self._store.kinds.items() if version == api_version}
        if not kinds:
            raise _no_such_address()
        if not words:
            return web.json_response(_resource_list(api_version, kinds))
        namespace = ""
        if words[0] == "namespaces" and len(words) > 2:  # noqa: PLR2004  # /namespaces/NAME/PLURAL
            namespace, words = words[1], words[2:]
        kind = kinds.get(words[0])
        if kind is None or len(words) > 2:  # noqa: PLR2004  # parts such as /status are not served
            raise _no_such_address()
        name = words[1] if len(words) > 1 else ""
        return await self._served(request, Query(api_version, kind.kind, namespace, name, _labels(request)), kind)

    async def _served(self, request: web.Request, query: Query, kind: ApiKind) -> web.StreamResponse:
        if request.method == "GET" and request.query.get("watch") in ("1", "true"):
            self._store.allow("watch", Reference(query.api_version, "", "", "").group, kind.plural, query.namespace)
            return await self._watch(request, query)
        if request.method == "GET":
            return web.json_response(self._read(request, query, kind))
        if request.method == "PATCH" and query.name:
            return await self._apply(request, query)
        if request.method == "DELETE" and query.name:
            target = Reference(query.api_version, query.kind, query.namespace, query.name)
            return web.json_response(self._store.delete(target))
        raise StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _read(self, request: web.Request, query: Query, kind: ApiKind) -> Resource:
        found = self._store.find(query)
        if query.name:
            if not found:
                raise StatusError(404, "NotFound", f'{kind.plural} "{query.name}" not found')
            return found[0]
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "500"))
        about: Resource = {"resourceVersion": str(self._store.clock)}
        if start + limit < len(found):
            about["continue"] = str(start + limit)
        items = [_without_type(each) for each in found[start : start + limit]]
        return {"apiVersion": query.api_version, "kind": f"{kind.kind}List", "metadata": about, "items": items}

    async def _apply(self, request: web.Request, query: Query) -> web.Response:
        if request.content_type != _APPLY:
            raise StatusError(415, "UnsupportedMediaType", f"this server takes {_APPLY} alone")
        manager = request.query.get("fieldManager", "")
        if not manager:
            raise StatusError(422, "Invalid", "fieldManager: Required value: is required for apply patch")
        sent: Any = yaml.safe_load(await request.read())
        if not isinstance(sent, dict) or Reference.of(sent).name != query.name:
            raise StatusError(400, "BadRequest", "the name of the object does not match the name on the URL")
        force = request.query.get("force") == "true"
        dry_run = request.query.get("dryRun") == "All"
        found, new = self._store.apply(sent, manager, force=force, dry_run=dry_run)
        return web.json_response(found, status=201 if new else 200)

    async def _watch(self, request: web.Request, query: Query) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        with suppress(ConnectionResetError):
            await response.prepare(request)
        since = int(request.query.get("resourceVersion", "0"))
        name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        query = Query(query.api_version, query.kind, query.namespace, name, query.labels)
        try:
            stop = asyncio.ensure_future(self._faults.watches_end())
            send = asyncio.ensure_future(self._send(response, query, since))
            seconds = float(request.query.get("timeoutSeconds", "1800"))
            await asyncio.wait({stop, send}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stop, send):
                task.cancel()
            await asyncio.gather(stop, send, return_exceptions=True)
        return response

    async def _send(self, response: web.StreamResponse, query: Query, since: int) -> None:
        try:
            async for told in events(self._store, since):
                if selected(told.resource, query):
                    await _line(response, {"type": told.what, "object": told.resource})
        except StatusError as gone:
            await _line(response, {"type": "ERROR", "object": gone.body})


async def _line(response: web.StreamResponse, event: Resource) -> None:
    await response.write(json.dumps(event).encode() + b"\n")


def _hung_up(request: web.Request) -> web.Response:
    """Drop the connection without an answer, as a server does that dies; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _labels(request: web.Request) -> dict[str, str]:
    pairs = (each.partition("=") for each in request.query.get("labelSelector", "").split(",") if each)
    return {name: value for name, _, value in pairs}


def _resource_list(api_version: str, kinds: Mapping[str, ApiKind]) -> Resource:
    resources = [
        {"name": plural, "kind": kind.kind, "namespaced": kind.namespaced, "singularName": "", "verbs": ["get", "list"]}
        for plural, kind in kinds.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}


def _without_type(resource: Resource) -> Resource:
    return {key: value for key, value in resource.items() if key not in ("apiVersion", "kind")}


def _no_such_address() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")
