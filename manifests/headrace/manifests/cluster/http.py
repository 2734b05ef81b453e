"""A cluster over its REST interface (Kubernetes API concepts).

aiohttp and not the kubernetes client carries the requests: a deploy reads, applies and watches many resources at once,
and the client would do so one at a time and make a class of every answer.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import orjson

from headrace.manifests.cluster.api import FIELD_MANAGER, ApiKind, Change, Discovery, Listing
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError, refusal
from headrace.manifests.cluster.transport import Patience, Request, transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping

    from headrace.manifests.cluster.api import Access, Query
    from headrace.manifests.cluster.connection import Connection
    from headrace.manifests.cluster.transport import Transport
    from headrace.manifests.resource import Resource

_PAGE = "500"
_WATCH_SECONDS = 60
"""After which the cluster ends a watch, so that a connection that died in silence is not waited on for ever."""
_ERROR, _ABSENT, _GONE = 400, 404, 410
_CHANGES: dict[str, Literal["added", "modified", "deleted", "bookmark"]] = {
    "ADDED": "added",
    "MODIFIED": "modified",
    "DELETED": "deleted",
    "BOOKMARK": "bookmark",
}


@asynccontextmanager
async def http_cluster(connection: Connection, patience: Patience | None = None) -> AsyncIterator[HttpCluster]:
    """The cluster of a connection."""
    async with transport(connection, patience or Patience()) as sender:
        yield HttpCluster(sender)


class HttpCluster:
    """Implements ``ClusterApi``. What the cluster serves is asked once."""

    def __init__(self, sender: Transport) -> None:
        self._sender = sender
        self._kinds: dict[str, asyncio.Task[dict[str, ApiKind]]] = {}

    async def discover(self, api_versions: Collection[str]) -> Discovery:
        """Implements ``ClusterApi``."""
        version = await self._get("/version", "the cluster's version")
        groups = await self._get("/apis", "the cluster's API groups")
        served = {each: await self._served(each) for each in sorted(set(api_versions))}
        return Discovery(
            version=f"{version.get('major', '')}.{str(version.get('minor', '')).rstrip('+')}",
            groups={
                each["name"]: tuple(one["version"] for one in each.get("versions", []))
                for each in groups.get("groups", [])
            },
            kinds={(version, name): kind for version, kinds in served.items() for name, kind in kinds.items()},
        )

    async def find(self, query: Query) -> Listing:
        """Implements ``ClusterApi``."""
        path = await self._path(query.api_version, query.kind, query.namespace, query.name)
        if not query.name:
            return await self._list(query, path)
        answer = await self._sender.send(Request("GET", path))
        if answer.status == _ABSENT:
            return Listing((), "0")
        found = dict(_checked(answer.status, answer.value, _about(query)))
        return Listing((found,), found["metadata"].get("resourceVersion", "0"))

    async def _list(self, query: Query, path: str) -> Listing:
        """Page by page; from the start again where the pages' version is gone meanwhile."""
        items: list[Resource] = []
        params = {"limit": _PAGE, **_selected(query)}
        while True:
            answer = await self._sender.send(Request("GET", path, params))
            if answer.status == _GONE and "continue" in params:
                del params["continue"]
                items.clear()
                continue
            value = _checked(answer.status, answer.value, _about(query))
            # The items of a list leave out what all have in common.
            common = {"apiVersion": query.api_version, "kind": query.kind}
            items += [{**common, **each} for each in value.get("items") or []]
            about = value.get("metadata") or {}
            if not about.get("continue"):
                return Listing(tuple(items), about.get("resourceVersion", "0"))
            params["continue"] = about["continue"]

    async def watch(self, query: Query, since: str) -> AsyncGenerator[Change, None]:
        """Implements ``ClusterApi``."""
        path = await self._path(query.api_version, query.kind, query.namespace)
        params = {
            "watch": "1",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
            **_selected(query),
        }
        if query.name:
            params["fieldSelector"] = f"metadata.name={query.name}"
        answers = self._sender.lines(Request("GET", path, params), silence=_WATCH_SECONDS + 15)
        async with aclosing(answers):
            async for line in answers:
                value = _checked(line.status, line.value, _about(query))
                if value["type"] == "ERROR":
                    told = value.get("object") or {}
                    raise refusal(int(told.get("code", 500)), told, _about(query))
                if what := _CHANGES.get(value["type"]):
                    yield Change(what, value["object"])

    async def apply(self, resource: Resource, *, force: bool = False, dry_run: bool = False) -> Resource:
        """Implements ``ClusterApi``."""
        to = Reference.of(resource)
        path = await self._path(to.api_version, to.kind, to.namespace, to.name)
        # Strict: a field that the cluster does not know would be dropped in silence.
        params = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            params["dryRun"] = "All"
        # JSON is YAML.
        request = Request("PATCH", path, params, orjson.dumps(resource), "application/apply-patch+yaml")
        answer = await self._sender.send(request)
        return dict(_checked(answer.status, answer.value, str(to)))

    async def delete(self, reference: Reference) -> bool:
        """Implements ``ClusterApi``: what the resource owns goes first, so that nothing runs on when it is gone."""
        path = await self._path(reference.api_version, reference.kind, reference.namespace, reference.name)
        options = orjson.dumps({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"})
        answer = await self._sender.send(Request("DELETE", path, body=options))
        if answer.status == _ABSENT:
            return False
        _checked(answer.status, answer.value, str(reference))
        return True

    async def may(self, access: Access) -> bool:
        """Implements ``ClusterApi`` (SelfSubjectAccessReview)."""
        attributes = {"verb": access.verb, "group": access.group, "resource": access.plural}
        attributes |= {key: value for key, value in (("namespace", access.namespace), ("name", access.name)) if value}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._sender.send(Request("POST", path, body=orjson.dumps(review)))
        found = _checked(answer.status, answer.value, "the review of one's own rights")
        return bool((found.get("status") or {}).get("allowed"))

    async def _get(self, path: str, about: str) -> Mapping[str, Any]:
        answer = await self._sender.send(Request("GET", path))
        return _checked(answer.status, answer.value, about)

    async def _served(self, api_version: str) -> dict[str, ApiKind]:
        """The kinds of a version; none where it is not served."""
        if api_version not in self._kinds:
            self._kinds[api_version] = asyncio.ensure_future(self._ask_kinds(api_version))
        try:
            return await asyncio.shield(self._kinds[api_version])
        except Exception:
            # Asked again next time.
            self._kinds.pop(api_version, None)
            raise

    async def _ask_kinds(self, api_version: str) -> dict[str, ApiKind]:
        answer = await self._sender.send(Request("GET", _root(api_version)))
        if answer.status == _ABSENT:
            return {}
        value = _checked(answer.status, answer.value, f"the kinds of {api_version}")
        return {
            each["kind"]: ApiKind(each["kind"], each["name"], bool(each.get("namespaced")))
            for each in value.get("resources", [])
            # `deployments/scale` and its like are parts of a kind.
            if "/" not in each["name"]
        }

    async def _path(self, api_version: str, kind: str, namespace: str = "", name: str = "") -> str:
        known = (await self._served(api_version)).get(kind)
        if known is None:
            raise RefusedError(
                f"The cluster has no kind {kind} in {api_version}",
                reason="unknown-kind",
                hint="`headrace doctor -f headrace.yaml` says what to install",
            )
        words = [_root(api_version)]
        if namespace and known.namespaced:
            words += ["namespaces", quote(namespace, safe="")]
        words.append(known.plural)
        if name:
            words.append(quote(name, safe=""))
        return "/".join(words)


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _selected(query: Query) -> dict[str, str]:
    wanted = ",".join(f"{name}={value}" for name, value in query.labels.items())
    return {"labelSelector": wanted} if wanted else {}


def _about(query: Query) -> str:
    words = [query.kind, *([f"{query.namespace}/{query.name}".strip("/")] if query.namespace or query.name else [])]
    return " ".join(words)


def _checked(status: int, value: Mapping[str, Any], about: str) -> Mapping[str, Any]:
    """The answer where it is no error."""
    if status >= _ERROR:
        raise refusal(status, value, about)
    return value
