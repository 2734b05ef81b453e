# ruff: noqa: TC001  # pydantic reads the annotations when the program runs
"""The app spec: what a ``headrace.yaml`` may say, as frozen values.

``headrace.manifests.loading`` reads files; the classes here hold what is true of one app alone. Names in YAML are
camelCase, attributes snake_case. Every rule between two fields is checked on the later field, so that a mistake in
one place never hides one in another.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from headrace.manifests import names
from headrace.manifests.parts.batching import Batching
from headrace.manifests.parts.compute import Nodes, Resources
from headrace.manifests.parts.configuration import (
    Environment,
    ExternalSecret,
    ResourceName,
    SecretKey,
    Source,
    Variable,
)
from headrace.manifests.parts.delivery import Batch, RateLimit, Retry
from headrace.manifests.parts.exposure import Domain, Protection
from headrace.manifests.parts.filters import Cesql, Filters
from headrace.manifests.parts.kafka import KafkaAccess
from headrace.manifests.parts.models import SeveralModels
from headrace.manifests.parts.observability import Logging, Metrics, Tracing
from headrace.manifests.parts.operations import Cost, Disruption, Isolation, Quota, Rollout
from headrace.manifests.parts.part import Duration, Labels, Part
from headrace.manifests.parts.scaling import Scale
from headrace.manifests.parts.security import Access, Mesh, Network
from headrace.manifests.parts.storage import CACHED, ModelCache
from headrace.manifests.parts.usage import Metering

API_VERSION = "headrace.dev/v1alpha1"
KIND = "InferenceApp"

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)

ClassPath = Annotated[str, AfterValidator(names.class_path), Field(examples=["package.module:Class", "model.py:Class"])]
Uri = Annotated[str, AfterValidator(names.uri)]
TopicName = Annotated[str, AfterValidator(names.topic), Field(json_schema_extra={"pattern": names.TOPIC.pattern})]
Delivery = Literal["headrace", "knative-source", "knative-broker"]


class Metadata(Part):
    """How the app is called and where it lives."""

    name: Annotated[str, AfterValidator(names.app)]
    """Name of the app and of the InferenceService: a lower-case DNS label of 48 characters at most, since names such
    as NAME-transformer are made from it."""
    namespace: Annotated[str, AfterValidator(names.namespace)] = "default"
    """Kubernetes namespace; also part of the result events' source and of the consumer group's name."""
    labels: Labels = Field({})
    """Labels put on every resource of the app, beside Headrace's own `app.kubernetes.io/` labels."""


class Component(Part):
    """What predictor and transformer have in common."""

    class_path: Annotated[ClassPath, Field(alias="class")]
    """The class to serve: `package.module:Class`, or `path/to/file.py:Class` relative to this file."""
    resources: Resources = Resources()
    """What one replica gets."""
    scale: Scale = Scale()
    """Between how many replicas, and when."""
    env: Environment = Field({})
    """Environment variables of the container; values are text, so quote numbers."""
    image: Annotated[str, AfterValidator(names.image)] | None = None
    """Container image that holds the class; the image given to `headrace render` unless you say another."""
    secrets: dict[Variable, SecretKey] = Field({})
    """Environment variables whose values are in Secrets of the app's namespace."""
    env_from: list[Source] = Field([])
    """Secrets and ConfigMaps all of whose values become environment variables."""
    nodes: Nodes | None = None
    """Which nodes the pods may run on; any unless you say."""
    service_account: ResourceName | None = None
    """ServiceAccount of the pods, made by you, such as one with the model store's credentials; see also `access`."""
    execution: Literal["thread", "process"] = "thread"
    """Where the class runs. `thread`: in the server's own process. `process`: in one of its own, so that a class that
    holds Python's lock or dies never stops the server; one that dies is started again."""

    @field_validator("secrets")
    @classmethod
    def _named_once(cls, value: dict[str, SecretKey], info: ValidationInfo) -> dict[str, SecretKey]:
        twice = sorted(value.keys() & info.data.get("env", {}).keys())
        if twice:
            raise ValueError(f"{', '.join(twice)}: given under env as well; remove one")
        return value


class Predictor(SeveralModels, Component):
    """The model."""

    model: Uri | None = None
    """Where the weights are: s3:// gs:// hf:// https:// pvc:// oci:// file://, pypi://PACKAGE==VERSION/PATH, or a
    path. Absent for a class that needs none."""
    version: Annotated[str, AfterValidator(names.version)] | None = None
    """Name of this version of the model in results and their ids; a hash of class and model unless you say one.
    Change it when the answers change and neither class nor model URI does."""
    batching: Batching = Batching()
    """How requests are merged into one call of the model."""
    cache: ModelCache | None = None
    """Keep the model on the nodes' own disks."""

    @field_validator("batching")
    @classmethod
    def _can_fill(cls, value: Batching, info: ValidationInfo) -> Batching:
        scale: Scale | None = info.data.get("scale")
        if scale and scale.limit and scale.limit < value.max_size:
            raise ValueError(
                f"a batch of {value.max_size} never fills: scale.limit lets {scale.limit} requests through; "
                "raise scale.limit or lower maxSize"
            )
        return value

    @field_validator("cache")
    @classmethod
    def _of_a_model(cls, value: ModelCache | None, info: ValidationInfo) -> ModelCache | None:
        if value and "model" in info.data and not (info.data["model"] or "").startswith(CACHED):
            raise ValueError(
                f"only a model of {' '.join(CACHED)} can be kept on nodes; remove cache, or name such a model"
            )
        return value


class Transformer(Component):
    """The steps before and after the model, scaled on their own."""

    collocated: bool = False
    """Run in the predictor's pods, beside the model: no network between the two, and no scaling apart."""

    @field_validator("collocated")
    @classmethod
    def _in_one_pod(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  # pydantic's signature
        own = [to_camel(name) for name, usual in _OF_THE_POD.items() if info.data.get(name, usual) != usual]
        if value and own:
            raise ValueError(f"in the predictor's pods the predictor's settings hold; remove {' and '.join(own)} here")
        return value


_OF_THE_POD: dict[str, object] = {"scale": Scale(), "nodes": None, "service_account": None}


class Trigger(Part):
    """Which events reach the app, and how they are delivered."""

    topic: TopicName
    """Kafka topic whose events the app answers."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 8
    """Partitions of the topic where Headrace makes it; also the most dispatchers that can share the work."""
    ordering: Literal["none", "key", "partition"] = "none"
    """`none`: any order, the fastest, and Knative's default for a Trigger. `key`: events of one partition key are
    answered in their order. `partition`: all events of one partition are."""
    retry: Retry = Retry()
    """How a failed delivery is tried again."""
    dead_letters: TopicName | None = None
    """Topic for events that failed for good; TOPIC.dead-letters unless you say another."""
    timeout: Duration = timedelta(seconds=60)
    """Longest time for one answer, 1s to 10m (Knative's limit). It does not run while a cold start is waited for."""
    cold_start: Duration = timedelta(minutes=10)
    """Longest wait for a sink at zero or loading its model, 1s to 1h; then the delivery counts as failed."""
    group: Annotated[str, AfterValidator(names.group)] | None = None
    """Kafka consumer group; headrace.NAMESPACE.NAME unless you say another. A new name reads the topic anew."""
    filter: Cesql | None = None
    """CloudEvents SQL over the events' attributes; where it is not true, an event is passed over. See `filters`."""
    filters: Filters = None
    """Filters of the CloudEvents Subscriptions API, as Knative's Trigger has them. An event is answered where every
    one matches, and `filter` as well; without any, every event is."""
    batch: Batch | None = None
    """Deliver events in batches; one event a request unless you say. `batch: {}` takes the usual sizes."""
    rate_limit: RateLimit | None = None
    """Most events a second; as many as the app takes unless you say."""
    delivery: Delivery = "headrace"
    """Who brings events to the app. `headrace`: Headrace's dispatcher, with batches, transactions and waiting for cold
    starts. `knative-source`: Knative's KafkaSource, which throws answers away. `knative-broker`: Broker, Trigger and
    KafkaSink; the topic must hold CloudEvents alone, and answers pass through it too. Knative knows no `maxDelay` and
    no `group` of a broker, counts a cold start as part of the first attempt, and delivers single events."""

    @field_validator("dead_letters")
    @classmethod
    def _own_topic(cls, value: str | None, info: ValidationInfo) -> str | None:
        topic: str | None = info.data.get("topic")
        if topic and value is None and len(topic) > names.LONGEST_TOPIC - len(_DEAD_LETTERS):
            raise ValueError("the topic's name is too long for TOPIC.dead-letters; name the dead letters' topic")
        return names.distinct(value, topic, "the trigger's own topic", "a dead letter would come back as a new event")

    @field_validator("timeout")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND, 10 * _MINUTE)

    @field_validator("cold_start")
    @classmethod
    def _patient(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND, 60 * _MINUTE)

    @field_validator("delivery")
    @classmethod
    def _knows_all(cls, value: Delivery, info: ValidationInfo) -> Delivery:
        if value == "knative-broker" and info.data.get("group"):
            raise ValueError("a Trigger's consumer group is named by Knative; remove group")
        own = [name for name in ("batch", "rateLimit") if info.data.get(_ATTRIBUTE[name]) and value != "headrace"]
        if own:
            raise ValueError(f"Knative delivers single events, as fast as it can; remove {' and '.join(own)}")
        if value == "knative-source" and (info.data.get("filter") or info.data.get("filters")):
            raise ValueError("a KafkaSource has no filters; remove filter and filters, or choose knative-broker")
        return value

    @property
    def dead_letter_topic(self) -> str:
        """The dead letters' topic, named or by default."""
        return self.dead_letters or self.topic + _DEAD_LETTERS


_ATTRIBUTE = {"batch": "batch", "rateLimit": "rate_limit"}
_DEAD_LETTERS = ".dead-letters"


class Results(Part):
    """Where answers go."""

    topic: TopicName
    """Kafka topic of the result events."""


class Usage(Metering):
    """Who used how much of the app's replicas, told to Kafka event by event; see docs/usage.md."""

    topic: TopicName = "headrace.usage"
    """Kafka topic of the usage events; apps may share one."""


class AppSpec(Part):
    """What runs, what it answers, where the answers go."""

    predictor: Predictor
    """The model."""
    transformer: Transformer | None = None
    """The steps before and after the model; absent where the model reads events itself."""
    trigger: Trigger
    """Which events reach the app."""
    results: Results | None = None
    """Where answers go; absent where the model's effect is all that is wanted."""
    access: Access | None = None
    """A service account for each part of the app, and roles for people."""
    network: Network | None = None
    """Only the connections of the flow are let through."""
    domain: Domain | None = None
    """A public address of the app."""
    mesh: Mesh | None = None
    """Istio: mutual TLS, who may call what, tokens of callers."""
    protection: Protection | None = None
    """What the gateway lets through to the domain."""
    tracing: Tracing | None = None
    """Where spans go."""
    metrics: Metrics | None = None
    """Scraping, alerts and a dashboard."""
    logging: Logging | None = None
    """How the containers log."""
    rollout: Rollout | None = None
    """How a changed predictor takes over."""
    disruption: Disruption | None = None
    """What stays up while nodes are drained or full."""
    cost: Cost | None = None
    """Labels under which cost reports add up what the app uses."""
    usage: Usage | None = None
    """Every event is metered: whose it is, and what it used of its replica."""
    isolation: Isolation | None = None
    """A namespace of its own, with pod security `restricted`."""
    quota: Quota | None = None
    """A bound on what the app's namespace may use."""
    kafka: KafkaAccess | None = None
    """How the app proves to Kafka who it is; a Kafka that asks nobody unless you say."""
    config: Environment = Field({})
    """Environment variables of predictor and transformer alike, kept in a ConfigMap; values are text."""
    external_secrets: list[ExternalSecret] = Field([])
    """Secrets that the External Secrets Operator fetches from a vault."""

    @field_validator("mesh")
    @classmethod
    def _callers_have_a_door(cls, value: Mesh | None, info: ValidationInfo) -> Mesh | None:
        if value and value.jwt and "domain" in info.data and info.data["domain"] is None:
            raise ValueError("jwt asks callers at the domain for tokens; add domain, or remove jwt")
        return value

    @field_validator("quota")
    @classmethod
    def _own_namespace(cls, value: Quota | None, info: ValidationInfo) -> Quota | None:
        if value and "isolation" in info.data and info.data["isolation"] is None:
            raise ValueError("a quota bounds the whole namespace, which others may use; add isolation: {}")
        return value

    @field_validator("usage")
    @classmethod
    def _own_topic(cls, value: Usage | None, info: ValidationInfo) -> Usage | None:
        trigger: Trigger | None = info.data.get("trigger")
        if value and trigger:
            names.distinct(value.topic, trigger.topic, "the trigger's topic", "usage of usage would never end")
            names.distinct(value.topic, trigger.dead_letter_topic, "the dead letters' topic", "readers mix them up")
        return value

    @field_validator("results")
    @classmethod
    def _no_loop(cls, value: Results | None, info: ValidationInfo) -> Results | None:
        trigger: Trigger | None = info.data.get("trigger")
        if value and trigger:
            if trigger.delivery == "knative-source":
                raise ValueError(
                    "Knative's KafkaSource throws answers away; remove results, or change trigger.delivery"
                )
            names.distinct(value.topic, trigger.topic, "the trigger's topic", "each answer would be a new event")
            names.distinct(value.topic, trigger.dead_letter_topic, "the dead letters' topic", "readers mix them up")
        return value


class Profile(Part):
    """What is different of an app under one profile: laid over the app, mapping by mapping."""

    labels: dict[str, Any] = Field({})
    """Changes of `metadata.labels`."""
    spec: dict[str, Any] = Field({})
    """Changes of `spec`: a value replaces, a mapping is laid over, null removes."""


class InferenceApp(Part):
    """One app: events of a Kafka topic, a model, and a topic for its answers."""

    api_version: Literal["headrace.dev/v1alpha1"]
    """Version of this format."""
    kind: Literal["InferenceApp"]
    """Always InferenceApp."""
    metadata: Metadata
    """How the app is called and where it lives."""
    spec: AppSpec
    """What runs, what it answers, where the answers go."""
    profiles: dict[Annotated[str, AfterValidator(names.profile)], Profile] = Field({})
    """Changes by profile, as `headrace render --profile NAME` asks for. `dev`, `gpu` and `prod` are always there;
    what is said of them here is laid over what they are."""

    @field_validator("spec")
    @classmethod
    def _versions_of_the_first(cls, value: AppSpec, info: ValidationInfo) -> AppSpec:
        about: Metadata | None = info.data.get("metadata")
        if about and any(model.name == about.name and not model.version for model in value.predictor.models or ()):
            raise ValueError(f"predictor.models: {about.name} is the first model; give this one a version, or a name")
        return value

    @property
    def name(self) -> str:
        """The app's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The app's namespace."""
        return self.metadata.namespace

    @property
    def consumer_group(self) -> str:
        """The Kafka consumer group, named or by default."""
        return self.spec.trigger.group or f"headrace.{self.namespace}.{self.name}"

    @property
    def result_topic(self) -> str | None:
        """The topic of the answers; None where they are not kept."""
        return self.spec.results.topic if self.spec.results else None

    @property
    def model_version(self) -> str:
        """The version in results and their ids: the one named, or a hash of class and model, the same everywhere."""
        predictor = self.spec.predictor
        if predictor.version:
            return predictor.version
        identity = f"{predictor.class_path}\n{predictor.model or ''}"
        return "sha-" + hashlib.sha256(identity.encode()).hexdigest()[:12]

    def document(self) -> dict[str, object]:
        """The app as its YAML document, with every default written out that is not derived from a name.

        Without profiles: it says what the app is, not what it could be.
        """
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"profiles"})
