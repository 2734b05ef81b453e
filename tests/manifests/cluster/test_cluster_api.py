"""The contract of ``ClusterApi``, kept by the cluster in memory and by the one over HTTP alike."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.cluster.api import Access, Query
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import Conflict, RefusedError

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi

CONFIG = Reference("v1", "ConfigMap", "default", "settings")


def config(name: str = "settings", namespace: str = "default", **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    about = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}


def test_discovery_names_versions_groups_and_kinds(cluster: Any) -> None:
    """A version that is not served is left out, so that the doctor can say what is missing."""
    cluster.call(lambda: cluster.store.kinds.pop(("keda.sh/v1alpha1", "ScaledObject")))
    cluster.call(lambda: cluster.store.kinds.pop(("keda.sh/v1alpha1", "TriggerAuthentication")))

    async def ask(api: ClusterApi) -> Any:
        return await api.discover(["v1", "serving.kserve.io/v1beta1", "keda.sh/v1alpha1"])

    found = cluster.run(ask)
    assert found.version == "1.34"
    assert found.groups["serving.kserve.io"] == ("v1beta1", "v1alpha1")
    assert "keda.sh" not in found.groups
    assert found.kinds["serving.kserve.io/v1beta1", "InferenceService"].plural == "inferenceservices"
    assert not found.kinds["v1", "Namespace"].namespaced
    assert not [kind for version, kind in found.kinds if version == "keda.sh/v1alpha1"]


def test_what_is_applied_is_found(cluster: Any) -> None:
    """By its name, by its labels, in its namespace and in all; what is not there is not found, and no error."""

    async def ask(api: ClusterApi) -> None:
        made = await api.apply(config(a="1"))
        assert made["data"] == {"a": "1"}
        await api.apply(config("other", b="2"))
        one = await api.find(Query.of(CONFIG))
        assert one.first is not None
        assert one.first["data"] == {"a": "1"}
        assert one.first["kind"] == "ConfigMap"
        labelled = await api.find(Query("v1", "ConfigMap", "default", labels={"app": "other"}))
        assert [each["metadata"]["name"] for each in labelled.items] == ["other"]
        assert labelled.items[0]["kind"] == "ConfigMap"
        assert len((await api.find(Query("v1", "ConfigMap"))).items) == 2
        assert (await api.find(Query("v1", "ConfigMap", "default", "none"))).first is None
        assert not (await api.find(Query("v1", "ConfigMap", "nowhere"))).items

    cluster.run(ask)


def test_applying_the_same_again_changes_nothing(cluster: Any) -> None:
    """The version stays; what was applied before and is not any more goes; fields of others stay."""

    async def ask(api: ClusterApi) -> None:
        first = await api.apply(config(a="1", b="2"))
        again = await api.apply(config(a="1", b="2"))
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        cluster.call(lambda: cluster.store.update("ConfigMap", "settings", "default", manager="me", data={"c": "3"}))
        less = await api.apply(config(a="1"))
        assert less["data"] == {"a": "1", "c": "3"}
        assert less["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]

    cluster.run(ask)


def test_a_field_of_another_manager_is_a_conflict(cluster: Any) -> None:
    """The error names manager and field; force takes the field over."""

    async def ask(api: ClusterApi) -> None:
        await api.apply(config(a="1"))
        cluster.call(
            lambda: cluster.store.update("ConfigMap", "settings", "default", manager="kubectl-edit", data={"a": "9"})
        )
        with pytest.raises(RefusedError, match=r"\.data\.a is kubectl-edit's.*--force-conflicts") as refused:
            await api.apply(config(a="2"))
        assert refused.value.reason == "conflict"
        assert refused.value.conflicts == (Conflict("kubectl-edit", ".data.a"),)
        assert (await api.apply(config(a="2"), force=True))["data"] == {"a": "2"}
        assert (await api.apply(config(a="3")))["data"] == {"a": "3"}

    cluster.run(ask)


def test_a_dry_run_says_what_would_be_and_changes_nothing(cluster: Any) -> None:
    """Neither a new resource nor a changed one."""

    async def ask(api: ClusterApi) -> None:
        assert (await api.apply(config(a="1"), dry_run=True))["data"] == {"a": "1"}
        assert (await api.find(Query.of(CONFIG))).first is None
        await api.apply(config(a="1"))
        assert (await api.apply(config(a="2"), dry_run=True))["data"] == {"a": "2"}
        live = (await api.find(Query.of(CONFIG))).first
        assert live is not None
        assert live["data"] == {"a": "1"}

    cluster.run(ask)


def test_what_cannot_be_applied_is_refused_with_its_reason(cluster: Any) -> None:
    """Forbidden, invalid, in a namespace that is not there, of a kind that is not served."""
    cluster.call(lambda: cluster.store.forbidden.append(lambda access: access.plural == "services"))
    cluster.call(lambda: cluster.store.checks.append(lambda each: "data.x: too odd" if "x" in each["data"] else None))
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}}
    odd = {"apiVersion": "odd/v1", "kind": "Odd", "metadata": {"name": "o"}}
    cases = [
        (service, "forbidden", "Service default/s.*cannot patch"),
        (config(x="1"), "invalid", "ConfigMap default/settings.*too odd"),
        (config(namespace="nowhere"), "absent", 'namespaces "nowhere" not found'),
        (odd, "unknown-kind", "no kind Odd in odd/v1"),
    ]

    async def ask(api: ClusterApi) -> None:
        for resource, reason, message in cases:
            with pytest.raises(RefusedError, match=message) as refused:
                await api.apply(resource)
            assert refused.value.reason == reason

    cluster.run(ask)


def test_delete_takes_what_the_resource_owns_along(cluster: Any) -> None:
    """A second delete says that there was nothing; a finalizer keeps the resource, marked, until it is taken off."""

    async def ask(api: ClusterApi) -> None:
        owner = await api.apply(config())
        child = config("child")
        child["metadata"]["ownerReferences"] = [{"uid": owner["metadata"]["uid"], "kind": "ConfigMap", "name": "x"}]
        child["metadata"]["finalizers"] = ["example.com/slow"]
        cluster.call(lambda: cluster.store.put(child))
        assert await api.delete(CONFIG)
        assert not await api.delete(CONFIG)
        assert not (await api.find(Query("v1", "ConfigMap", "default"))).items
        held = config("held")
        held["metadata"]["finalizers"] = ["example.com/slow"]
        cluster.call(lambda: cluster.store.put(held))
        assert await api.delete(Reference("v1", "ConfigMap", "default", "held"))
        marked = (await api.find(Query("v1", "ConfigMap", "default", "held"))).first
        assert marked is not None
        assert marked["metadata"]["deletionTimestamp"]
        cluster.call(lambda: cluster.store.release("ConfigMap", "held", "default"))
        assert (await api.find(Query("v1", "ConfigMap", "default", "held"))).first is None

    cluster.run(ask)


def test_a_watch_tells_every_change_after_the_listing(cluster: Any) -> None:
    """In order, and of the query's resources alone."""

    async def ask(api: ClusterApi) -> None:
        await api.apply(config("before"))
        seen = await api.find(Query("v1", "ConfigMap", "default"))
        told = []
        async with aclosing(api.watch(Query("v1", "ConfigMap", "default", labels={"app": "a"}), seen.version)) as watch:

            async def act() -> None:
                await api.apply(config("b", x="1"))
                await api.apply(config("a", x="1"))
                await api.apply(config("a", x="2"))
                await api.delete(Reference("v1", "ConfigMap", "default", "a"))

            acting = asyncio.ensure_future(act())
            async for change in watch:
                told.append((change.what, change.resource["data"]["x"]))
                if change.what == "deleted":
                    break
            await acting
        assert told == [("added", "1"), ("modified", "2"), ("deleted", "2")]

    cluster.run(ask)


def test_a_watch_from_too_long_ago_is_gone(cluster: Any) -> None:
    """Whoever watches must find again; nothing is missed in silence."""

    async def ask(api: ClusterApi) -> None:
        seen = await api.find(Query("v1", "ConfigMap", "default"))
        await api.apply(config("a"))
        cluster.call(cluster.store.forget)
        async with aclosing(api.watch(Query("v1", "ConfigMap", "default"), seen.version)) as watch:
            with pytest.raises(RefusedError) as refused:
                await anext(watch)
        assert refused.value.reason == "gone"

    cluster.run(ask)


def test_rights_are_told(cluster: Any) -> None:
    """Before anything is tried."""
    cluster.call(lambda: cluster.store.forbidden.append(lambda access: access.namespace == "kafka"))

    async def ask(api: ClusterApi) -> None:
        assert await api.may(Access("patch", "apps", "deployments", "default"))
        assert not await api.may(Access("patch", "apps", "deployments", "kafka"))

    cluster.run(ask)
