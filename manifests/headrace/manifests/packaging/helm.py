"""A Helm chart of the same resources: image, Kafka's address and replicas are values, all else is text.

Every template is the resource's own YAML with a few values replaced by an action, so that the chart with its default
values gives the very resources that ``headrace render`` prints.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from headrace.manifests.packaging.files import Files, file_name
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.resource import Resource

_TOKEN = "HeadraceHelmValue"  # noqa: S105  # no secret: it holds a value's place in the YAML
_OPEN = "{{"
_LITERAL = '{{ "{{" }}'
_IMAGE = "{{ .Values.image | quote }}"
_SERVERS = "{{ .Values.kafka.bootstrapServers | quote }}"
_SERVER_LIST = '{{ splitList "," .Values.kafka.bootstrapServers | toJson }}'


def helm(name: str, resources: Sequence[Resource], options: RenderOptions) -> Files:
    """The files of a chart called ``name``."""
    chart = _Chart(options)
    templates = {f"templates/{file_name(each)}": chart.template(each) for each in resources}
    version = metadata.version("headrace")
    about = {
        "apiVersion": "v2",
        "name": name,
        "description": "Event-driven inference, made by headrace render --format helm; change headrace.yaml, not this.",
        "type": "application",
        "version": version,
        "appVersion": version,
    }
    return {
        "Chart.yaml": to_yaml([about]),
        "values.yaml": _HEAD + to_yaml([chart.values()]),
        "values.schema.json": json.dumps(_schema(chart.values()), indent=2) + "\n",
        **templates,
    }


_HEAD = """\
# image: of the dispatcher, and of the containers whose app names none.
# kafka.bootstrapServers: HOST:PORT[,HOST:PORT...]. Topics and network policies are those of the address that the chart
# was made for; for another cluster make the chart anew (headrace render --format helm --kafka ...).
# apps.NAME: fewest and most replicas.
"""


@dataclass(slots=True)
class _Chart:
    """Collects the values while it makes the templates."""

    options: RenderOptions
    apps: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "image": self.options.image,
            "kafka": {"bootstrapServers": self.options.kafka},
        }
        return {**values, **({"apps": self.apps} if self.apps else {})}

    def template(self, resource: Resource) -> str:
        """The resource's YAML; what looks like an action in it stays text."""
        self.actions.clear()
        text = to_yaml([self._replicas(self._marked(resource))]).replace(_OPEN, _LITERAL)
        # The last first: the token of the tenth begins as that of the first.
        for number in reversed(range(len(self.actions))):
            text = text.replace(f"{_TOKEN}{number}", self.actions[number])
        return text

    def _marked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._marked(item) for key, item in value.items()}
        if isinstance(value, list):
            return self._mark(_SERVER_LIST) if self._is_servers(value) else [self._marked(item) for item in value]
        if value == self.options.image:
            return self._mark(_IMAGE)
        return self._mark(_SERVERS) if value == self.options.kafka else value

    def _is_servers(self, value: list[Any]) -> bool:
        return value == self.options.kafka.split(",")

    def _mark(self, action: str) -> str:
        self.actions.append(action)
        return f"{_TOKEN}{len(self.actions) - 1}"

    def _replicas(self, resource: Resource) -> Resource:
        app, spec = resource["metadata"]["labels"]["app.kubernetes.io/name"], resource.get("spec", {})
        if resource["kind"] == "InferenceService":
            for role in [role for role in ("predictor", "transformer") if role in spec]:
                self._bounds(app, role, spec[role], ("minReplicas", "maxReplicas"))
        if resource["kind"] == "ScaledObject":
            self._bounds(app, "dispatcher", spec, ("minReplicaCount", "maxReplicaCount"))
        return resource

    def _bounds(self, app: str, role: str, place: dict[str, Any], keys: tuple[str, str]) -> None:
        for key, name in zip(keys, ("min", "max"), strict=True):
            self.apps.setdefault(app, {}).setdefault(role, {})[name] = place[key]
            place[key] = self._mark(f'{{{{ index .Values.apps "{app}" "{role}" "{name}" | int }}}}')


def _schema(values: dict[str, Any]) -> dict[str, Any]:
    """What Helm checks values against, so that a misspelt one is an error and not a default."""
    shape = _shape(values)
    # Helm hands a chart that others depend on their global values.
    shape["properties"]["global"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **shape}


def _shape(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        shapes = {key: _shape(item) for key, item in value.items()}
        return {"type": "object", "properties": shapes, "additionalProperties": False, "required": sorted(shapes)}
    return {"type": "integer", "minimum": 0} if isinstance(value, int) else {"type": "string", "minLength": 1}
