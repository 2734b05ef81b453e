# ruff: noqa: TC001  # pydantic reads the annotations when the program runs
"""The app spec: what a ``headrace.yaml`` may say, as frozen values.

``headrace.manifests.loading`` reads files; the classes here hold what is true of one app alone. Names in YAML are
camelCase, attributes snake_case. Every rule between two fields is checked on the later field, so that a mistake in
one place never hides one in another.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from headrace.manifests import names
from headrace.manifests.parts.exposure import Domain, Protection
from headrace.manifests.parts.observability import Logging, Metrics, Tracing
from headrace.manifests.parts.operations import Cost, Disruption, Isolation, Quota, Rollout
from headrace.manifests.parts.part import Bytes, Cores, Duration, Labels, Part
from headrace.manifests.parts.security import Access, Mesh, Network
from headrace.manifests.quantity import format_duration

API_VERSION = "headrace.dev/v1alpha1"
KIND = "InferenceApp"

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)

ClassPath = Annotated[str, AfterValidator(names.class_path), Field(examples=["package.module:Class", "model.py:Class"])]
Uri = Annotated[str, AfterValidator(names.uri)]
TopicName = Annotated[str, AfterValidator(names.topic), Field(json_schema_extra={"pattern": names.TOPIC.pattern})]
Environment = dict[Annotated[str, AfterValidator(names.variable)], str]


class Metadata(Part):
    """How the app is called and where it lives."""

    name: Annotated[str, AfterValidator(names.app)]
    """Name of the app and of the InferenceService: a lower-case DNS label of 48 characters at most, since names such
    as NAME-transformer are made from it."""
    namespace: Annotated[str, AfterValidator(names.namespace)] = "default"
    """Kubernetes namespace; also part of the result events' source and of the consumer group's name."""
    labels: Labels = Field({})
    """Labels put on every resource of the app, beside Headrace's own `app.kubernetes.io/` labels."""


class Batching(Part):
    """How the predictor's requests are merged into one call of the model."""

    max_size: Annotated[int, Field(ge=1, le=4096)] = 32
    """Most inputs in one call of the model; 1 turns batching off. More raises throughput until memory is full."""
    max_delay: Duration = timedelta(milliseconds=5)
    """Longest time that the first input waits for others, 0s to 1m. A full batch does not wait."""

    @field_validator("max_delay")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, timedelta(), _MINUTE)


class Resources(Part):
    """What one replica gets: requested and limited alike, so that its speed does not depend on its neighbours."""

    cpu: Cores = 1.0
    """Cores: 2, 0.5 or 500m."""
    memory: Bytes = 2 << 30
    """Bytes of memory: 4Gi, 512M. A replica over it is killed."""
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    """Whole GPUs (`nvidia.com/gpu`); 0 for none."""


class Scale(Part):
    """Between how many replicas, and when."""

    min: Annotated[int, Field(ge=0, le=1000)] = 0
    """Fewest replicas; 0 lets an idle app cost nothing and the first event wait for a cold start."""
    max: Annotated[int, Field(ge=1, le=1000)] = 1
    """Most replicas: the bound on what the app may cost. 1 unless you say more."""
    target: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Requests in flight that one replica should have; more bring further replicas. A request may hold a batch."""
    idle: Duration = timedelta(minutes=5)
    """Time without a request after which the last replica goes, 1s to 1h. Knative rounds it up to 6s at least."""

    @field_validator("max")
    @classmethod
    def _over_min(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min", 0):
            raise ValueError(f"max is below min, which is {info.data['min']}; raise max or lower min")
        return value

    @field_validator("idle")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND, 60 * _MINUTE)


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


class Predictor(Component):
    """The model."""

    model: Uri | None = None
    """Where the weights are: s3:// gs:// hf:// https:// pvc:// oci:// file://, pypi://PACKAGE==VERSION/PATH, or a
    path. Absent for a class that needs none."""
    version: Annotated[str, AfterValidator(names.version)] | None = None
    """Name of this version of the model in results and their ids; a hash of class and model unless you say one.
    Change it when the answers change and neither class nor model URI does."""
    batching: Batching = Batching()
    """How requests are merged into one call of the model."""


class Transformer(Component):
    """The steps before and after the model, scaled on their own."""


class Retry(Part):
    """How a failed delivery is tried again (5xx, 404, 408, 409, 429, no answer); other failures are final."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Deliveries of one event in all, the first one included; then it goes to the dead letters. 1 turns retry off.
    Waiting for a cold start costs no attempt."""
    backoff: Literal["exponential", "linear"] = "exponential"
    """How the wait between attempts grows: doubled, or by `delay` each time; both with full jitter."""
    delay: Duration = timedelta(milliseconds=200)
    """The first wait, 1ms to 1h."""
    max_delay: Duration = timedelta(seconds=30)
    """The longest wait, `delay` to 1h."""

    @field_validator("delay")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, timedelta(milliseconds=1), 60 * _MINUTE)

    @field_validator("max_delay")
    @classmethod
    def _over_delay(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        delay: timedelta = info.data.get("delay", timedelta())
        if value < delay:
            raise ValueError(f"maxDelay is below delay, which is {format_duration(delay)}; raise maxDelay")
        return names.within(value, delay, 60 * _MINUTE)


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

    @property
    def dead_letter_topic(self) -> str:
        """The dead letters' topic, named or by default."""
        return self.dead_letters or self.topic + _DEAD_LETTERS


_DEAD_LETTERS = ".dead-letters"


class Results(Part):
    """Where answers go."""

    topic: TopicName
    """Kafka topic of the result events."""


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
    isolation: Isolation | None = None
    """A namespace of its own, with pod security `restricted`."""
    quota: Quota | None = None
    """A bound on what the app's namespace may use."""

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

    @field_validator("results")
    @classmethod
    def _no_loop(cls, value: Results | None, info: ValidationInfo) -> Results | None:
        trigger: Trigger | None = info.data.get("trigger")
        if value and trigger:
            names.distinct(value.topic, trigger.topic, "the trigger's topic", "each answer would be a new event")
            names.distinct(value.topic, trigger.dead_letter_topic, "the dead letters' topic", "readers mix them up")
        return value


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
        """The app as its YAML document, with every default written out that is not derived from a name."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
