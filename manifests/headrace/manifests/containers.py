"""The containers of predictor and transformer: command, variables, resources, and the pod's fields for its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.configuration import config_name
from headrace.manifests.kafka_access import kafka_client
from headrace.manifests.quantity import format_bytes, format_cpu, format_duration
from headrace.manifests.resource import Resource, environment
from headrace.models.model_uri import store_place

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.compute import Resources, Toleration
    from headrace.manifests.parts.configuration import SecretKey, Source
    from headrace.manifests.spec import Component, InferenceApp

HTTP_PORT = 8080
BESIDE_PORT = 8085
"""Where the predictor listens in one pod with its transformer, which has the usual port."""
# KServe's storage initializer fetches these with the cluster's credentials and caches; the others are in the image.
_FETCHED_BY_KSERVE = ("s3://", "gs://", "hf://", "pvc://", "http://", "https://", "hdfs://", "webhdfs://", "oci://")


def predictor_container(app: InferenceApp, options: RenderOptions, port: int = HTTP_PORT) -> Resource:
    """The container that holds the model; on another port than Knative's it is the transformer's neighbour."""
    predictor = app.spec.predictor
    container = _container(app, predictor, "predictor", options, port)
    container["args"] += _predictor_args(app)
    if predictor.model and predictor.model.startswith(_FETCHED_BY_KSERVE):
        container["env"] += environment({"STORAGE_URI": store_place(predictor.model)})
    return container


def transformer_container(app: InferenceApp, part: Component, options: RenderOptions) -> Resource:
    """The transformer's container; in the predictor's pod it has KServe's name for that, and finds the model there."""
    container = _container(app, part, "transformer", options, HTTP_PORT)
    container["args"] += _execution_args(part)
    if not transformer_apart(app):
        container["name"] = "transformer-container"
        # Apart, KServe adds this and the model's name itself.
        container["args"].append(f"--predictor-host=localhost:{BESIDE_PORT}")
    return container


def transformer_apart(app: InferenceApp) -> bool:
    """Whether the transformer has pods of its own."""
    return app.spec.transformer is not None and not app.spec.transformer.collocated


def pod_fields(app: InferenceApp, part: Component, *others: Component) -> Resource:
    """What the pod of ``part``, with the containers of ``others`` in it, says beside its containers."""
    fields: Resource = {}
    if part.service_account:
        fields["serviceAccountName"] = part.service_account
    if part.nodes:
        if part.nodes.selector:
            fields["nodeSelector"] = dict(part.nodes.selector)
        if part.nodes.tolerations:
            fields["tolerations"] = [_toleration(each) for each in part.nodes.tolerations]
        if part.nodes.runtime_class:
            fields["runtimeClassName"] = part.nodes.runtime_class
    volumes = [_shared_memory(app, each) for each in (part, *others) if each.resources.shared_memory]
    volumes += kafka_client(app).volumes if app.spec.usage else ()
    if volumes:
        fields["volumes"] = volumes
    return fields


def _predictor_args(app: InferenceApp) -> list[str]:
    predictor = app.spec.predictor
    batching = predictor.batching
    return [
        *([f"--model={predictor.model}"] if predictor.model else []),
        f"--max-batch-size={batching.max_size}",
        f"--max-batch-delay={format_duration(batching.max_delay)}",
        *([f"--max-batch-bytes={batching.max_bytes}"] if batching.max_bytes else []),
        *([f"--max-batch-tokens={batching.max_tokens}"] if batching.max_tokens else []),
        *_execution_args(predictor),
        *_more_models(app),
    ]


def _more_models(app: InferenceApp) -> list[str]:
    predictor = app.spec.predictor
    models = predictor.models or []
    versions = any(model.name == app.name for model in models)
    return [
        *([f"--model-version={app.model_version}"] if versions else []),
        *(f"--also={model.key}={model.class_path}{f'@{model.model}' if model.model else ''}" for model in models),
        *([f"--model-memory={predictor.model_memory}"] if predictor.model_memory else []),
    ]


def _execution_args(part: Component) -> list[str]:
    return [] if part.execution == "thread" else [f"--execution={part.execution}"]


def _container(app: InferenceApp, part: Component, role: str, options: RenderOptions, port: int) -> Resource:
    variables = {
        "HEADRACE_APP": app.name,
        "HEADRACE_NAMESPACE": app.namespace,
        "HEADRACE_MODEL_VERSION": app.model_version,
        # As many threads as CPUs: a library that counts the node's starts too many, and they wait for each other.
        "HEADRACE_CPU_LIMIT": format_cpu(part.resources.cpu),
        "OTEL_SERVICE_NAME": f"{app.name}-{role}",
        **part.env,
    }
    container: Resource = {
        "name": "kserve-container",
        "image": part.image or options.image,
        "command": ["headrace", "serve"],
        # KServe adds --model_name, --predictor_host and --http_port to a transformer's.
        "args": [f"--class={part.class_path}", f"--name={app.name}", f"--http-port={port}"],
        "env": [
            *environment({**_usage(app, part, options), **variables}),
            *(_secret(name, each) for name, each in part.secrets.items()),
            *(kafka_client(app).env if app.spec.usage else ()),
        ],
    }
    if sources := _sources(app, part):
        container["envFrom"] = sources
    if port == HTTP_PORT:
        # Knative takes a port, and without config-features multi-container-probing a probe, of one container alone.
        container["ports"] = [{"name": "http1", "containerPort": port, "protocol": "TCP"}]
        container["readinessProbe"] = {"httpGet": {"path": "/v2/health/ready", "port": port}}
    container["resources"] = _resources(part.resources)
    mounts: list[Resource] = list(kafka_client(app).mounts) if app.spec.usage else []
    if part.resources.shared_memory:
        mounts.append({"name": _shared_memory(app, part)["name"], "mountPath": "/dev/shm"})  # noqa: S108  # where C libraries look
    if mounts:
        container["volumeMounts"] = mounts
    return container


def _usage(app: InferenceApp, part: Component, options: RenderOptions) -> dict[str, str]:
    """What a server needs to tell of usage: where to, whose, and what its replica holds."""
    if app.spec.usage is None:
        return {}
    held = part.resources
    return {
        "HEADRACE_USAGE_TOPIC": app.spec.usage.topic,
        "HEADRACE_USAGE_TENANT": app.spec.usage.tenant.rule,
        "HEADRACE_REPLICA_SIZE": f"cpu={held.cpu:g},memory={held.memory},gpu={held.gpu}",
        "KAFKA_BOOTSTRAP_SERVERS": options.kafka,
    }


def _resources(wanted: Resources) -> Resource:
    """Requests and limits alike: where a limit is left out KServe writes 1 CPU and 2Gi, be it below the request."""
    amounts = {"cpu": format_cpu(wanted.cpu), "memory": format_bytes(wanted.memory)}
    gpus = {wanted.gpu_resource: str(wanted.gpu)} if wanted.gpu else {}
    return {"requests": dict(amounts), "limits": {**amounts, **gpus}}


def _shared_memory(app: InferenceApp, part: Component) -> Resource:
    role = "predictor" if part is app.spec.predictor else "transformer"
    limit = format_bytes(part.resources.shared_memory or 0)
    return {"name": f"{role}-shm", "emptyDir": {"medium": "Memory", "sizeLimit": limit}}


def _toleration(taint: Toleration) -> dict[str, str]:
    value = {"operator": "Equal", "value": taint.value} if taint.value else {"operator": "Exists"}
    return {"key": taint.key, **value, **({"effect": taint.effect} if taint.effect else {})}


def _secret(name: str, where: SecretKey) -> Resource:
    reference: dict[str, Any] = {"name": where.name, "key": where.key}
    if where.optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def _sources(app: InferenceApp, part: Component) -> list[Resource]:
    """The app's own settings first: what comes later wins."""
    own = [{"configMapRef": {"name": config_name(app)}}] if app.spec.config else []
    return [*own, *(_source(each) for each in part.env_from)]


def _source(source: Source) -> Resource:
    reference = (
        {"secretRef": {"name": source.secret}} if source.secret else {"configMapRef": {"name": source.config_map}}
    )
    return {**({"prefix": source.prefix} if source.prefix else {}), **reference}
