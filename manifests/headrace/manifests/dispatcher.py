"""The dispatcher: the ``Deployment`` that brings a topic's events to the app, and the ``ConfigMap`` with the app."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from headrace.manifests.containers import transformer_apart
from headrace.manifests.kafka_access import kafka_client
from headrace.manifests.resource import Resource, environment, labels, metadata, resource
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

FOLDER = "/etc/headrace"
FILE = "headrace.yaml"
_COMMIT_SECONDS = 30
"""What ending takes beside the requests in flight: results written, offsets committed, the group left."""
_USER = 65532  # the usual number of a user without rights; any but 0 does


def dispatcher(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """ConfigMap and Deployment of the app's dispatcher; nothing where Knative delivers.

    The Deployment states no ``replicas``: KEDA owns the number (``autoscale``), and applying again must not reset it.
    """
    if app.spec.trigger.delivery != "headrace":
        return []
    text = to_yaml([app.document()])
    config = resource("v1", "ConfigMap", metadata(app, f"{app.name}-app", "dispatcher"), data={FILE: text})
    return [config, _deployment(app, options, hashlib.sha256(text.encode()).hexdigest())]


def dispatcher_name(app: InferenceApp) -> str:
    """The name of the app's dispatcher Deployment."""
    return f"{app.name}-dispatcher"


def _deployment(app: InferenceApp, options: RenderOptions, checksum: str) -> Resource:
    every = labels(app, "dispatcher")
    # The selector can never be changed, so the user's labels stay out of it.
    selected = {key: every[key] for key in ("app.kubernetes.io/name", "app.kubernetes.io/component")}
    template = {
        # A pod reads the app when it starts: a changed app must make new pods.
        "metadata": {"labels": every, "annotations": {"headrace.dev/app-checksum": checksum}},
        "spec": _pod(app, options),
    }
    spec = {"selector": {"matchLabels": selected}, "template": template}
    return resource("apps/v1", "Deployment", metadata(app, dispatcher_name(app), "dispatcher"), spec=spec)


def _pod(app: InferenceApp, options: RenderOptions) -> Resource:
    return {
        "automountServiceAccountToken": False,
        # Else a Service called `kafka` would set KAFKA_PORT and its like.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(app.spec.trigger.timeout.total_seconds()) + _COMMIT_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(app, options)],
        "volumes": [
            {"name": "app", "configMap": {"name": f"{app.name}-app"}},
            {"name": "tmp", "emptyDir": {}},
            *kafka_client(app).volumes,
        ],
    }


def _container(app: InferenceApp, options: RenderOptions) -> Resource:
    return {
        "name": "dispatcher",
        "image": options.image,
        "command": ["headrace", "dispatch"],
        "args": ["-f", f"{FOLDER}/{FILE}", "--app", app.name],
        "env": [
            *environment(_variables(app, options)),
            *kafka_client(app).env,
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "app", "mountPath": FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # the pod's own folder, an emptyDir
            *kafka_client(app).mounts,
        ],
    }


def _variables(app: InferenceApp, options: RenderOptions) -> dict[str, str]:
    domain = f"{app.namespace}.svc.cluster.local"
    roles = ["predictor", *(["transformer"] if transformer_apart(app) else [])]
    return {
        "K_SINK": f"http://{app.name}.{domain}",
        # All of the chain at once: else the predictor would start only when the transformer is up and calls it.
        "HEADRACE_WAKE": ",".join(f"http://{app.name}-{role}.{domain}" for role in roles),
        "KAFKA_BOOTSTRAP_SERVERS": options.kafka,
        "OTEL_SERVICE_NAME": dispatcher_name(app),
    }
