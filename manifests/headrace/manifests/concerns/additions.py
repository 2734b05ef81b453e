"""What concerns add to the pods of the app's dispatcher, predictor and transformer, and how it is put in.

A concern never overwrites: what the app or another renderer has said stays.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.manifests.resource import Resource, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

    Addition = Callable[[InferenceApp, RenderOptions, str], "PodAdditions"]
    """A pure function from app, cluster and role to what its concern adds to the role's pods."""


@dataclass(frozen=True, slots=True)
class PodAdditions:
    """What one concern adds to the pods of one role."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of every container."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pod; for predictor and transformer KServe's fields beside them as well."""
    container: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every container."""
    ports: tuple[Mapping[str, Any], ...] = ()
    """Ports of the first container."""


NOTHING = PodAdditions()


def add(
    resources: Iterable[Resource], role: str, additions: PodAdditions, *, said: Container[str] = frozenset()
) -> None:
    """Put ``additions`` into the pods of ``role`` wherever they stand in ``resources``.

    Args:
        resources: Changed in place.
        role: Predictor, transformer, or the component of a Deployment.
        additions: What is put in where nothing stands yet.
        said: Variables that predictor and transformer get from elsewhere, which one of their own would hide.
    """
    for each in resources:
        if each["kind"] == "InferenceService" and role in each["spec"]:
            component = each["spec"][role]
            _fill(component.setdefault("labels", {}), additions.labels)
            _fill(component.setdefault("annotations", {}), additions.annotations)
            _add_to_pod(component, additions, said)
        elif each["kind"] == "Deployment" and _role(each) == role:
            template = each["spec"]["template"]
            _fill(template["metadata"].setdefault("labels", {}), additions.labels)
            _fill(template["metadata"].setdefault("annotations", {}), additions.annotations)
            _add_to_pod(template["spec"], additions)


def _add_to_pod(pod: dict[str, Any], additions: PodAdditions, said: Container[str] = frozenset()) -> None:
    _fill(pod, copy.deepcopy(dict(additions.spec)))
    containers = pod.get("containers", [])
    for container in containers:
        _fill(container, copy.deepcopy(dict(additions.container)))
        env = container.setdefault("env", [])
        known = {each["name"] for each in env}
        env += environment(
            {name: value for name, value in additions.env.items() if name not in known and name not in said}
        )
    if containers and additions.ports:
        containers[0].setdefault("ports", []).extend(dict(port) for port in additions.ports)


def _fill(target: dict[str, Any], added: Mapping[str, Any]) -> None:
    for key, value in added.items():
        target.setdefault(key, value)


def _role(resource: Resource) -> str:
    return str(resource["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))
