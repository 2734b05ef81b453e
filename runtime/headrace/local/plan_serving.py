"""InferenceServices and Knative Services -> revisions and the routes to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.local.annotations import Annotations
from headrace.local.containers import NOTHING, ContainerReader
from headrace.local.ignored import OF_A_SERVICE, note
from headrace.local.place import Place
from headrace.local.resources import Limits, Name, Route, Service, Share
from headrace.local.scale import Wishes, kserve_wishes, read_scale

if TYPE_CHECKING:
    from headrace.local.containers import Container
    from headrace.local.reading import Reading
    from headrace.local.resources import Scale

_SERVING = "serving.knative.dev/"
_TOTAL = 300.0
_ALL = 100
_MODELS = ("model", "sklearn", "xgboost", "pytorch", "tensorflow", "triton", "onnx", "huggingface", "lightgbm", "pmml")
"""Fields of a predictor that leave the container to a serving runtime."""


def inference_service(name: Name, place: Place, reading: Reading) -> None:
    """A revision of each component; the outermost has the InferenceService's own name as well."""
    spec = place.mapping("spec", required=True)
    spec.mapping("predictor", required=True)
    annotations = place.mapping("metadata").mapping("annotations").value
    roles = ["predictor", *(["transformer"] if spec.at("transformer").value is not None else [])]
    if "explainer" in spec.value:
        reading.skipped.append(f"{spec.path}.explainer: explainers do not run here")
    for role in roles:
        component = spec.mapping(role)
        note(component, OF_A_SERVICE, reading.ignored)
        noted = Place(
            f"{component.path}.annotations",
            {**annotations, **component.mapping("annotations").value},
            place.problems,
        )
        total = component.number("timeout", _TOTAL)
        own = Name(name.namespace, f"{name.name}-{role}")
        container, beside = _containers(name, component, reading)
        reading.services.append(
            Service(
                name=own,
                app=name.name,
                role=role,
                container=container,
                beside=beside,
                scale=read_scale(kserve_wishes(component), noted, reading.skipped, reading.defaults),
                limits=Limits(total, start=max(total, _TOTAL)),
                deadline=noted.seconds(f"{_SERVING}progress-deadline", 0) or None,
            )
        )
        reading.routes.append(Route((own, name) if role == roles[-1] else (own,), (Share(own),)))


def knative_service(name: Name, place: Place, reading: Reading) -> None:
    """Another revision of the service: a later document of one name is what was applied later."""
    metadata = place.mapping("metadata")
    spec = place.mapping("spec", required=True)
    template = spec.mapping("template", required=True)
    pod = template.mapping("spec", required=True)
    known = reading.revisions.setdefault(name, [])
    usual = f"{name.name}-{len(known) + 1:05d}"
    revision = template.mapping("metadata").text("name", usual)
    if any(revision == other.revision for other in known):
        template.mapping("metadata").at("name").fault(f"is {revision!r}, the name of an earlier revision")
    container, beside = _containers(name, pod, reading)
    noted = Place(
        f"{template.path}.metadata.annotations",
        template.mapping("metadata").mapping("annotations").value,
        place.problems,
    )
    service = Service(
        name=name,
        app=name.name,
        role="service",
        container=container,
        beside=beside,
        scale=_scale(pod, noted, reading),
        limits=_limits(pod),
        deadline=noted.seconds(f"{_SERVING}progress-deadline", 0) or None,
        knative=name.name,
        revision_name=revision,
    )
    known.append(service)
    reading.traffic[name] = (
        spec,
        Annotations(metadata.mapping("annotations"), _SERVING).seconds("rollout-duration", 0),
    )


def finish(reading: Reading) -> None:
    """The revisions of each Knative Service, the newest under its own name, and the routes to them."""
    for name, revisions in reading.revisions.items():
        named = [
            service if service is revisions[-1] else service.renamed(Name(name.namespace, service.revision))
            for service in revisions
        ]
        reading.services += named
        spec, rollout = reading.traffic[name]
        reading.routes += _routes(name, named, spec, rollout)


def _routes(name: Name, revisions: list[Service], spec: Place, rollout: float) -> list[Route]:
    latest = revisions[-1].name
    before = revisions[-2].name if len(revisions) > 1 and rollout else None
    targets = spec.items("traffic")
    if not targets:
        return [Route((name,), (Share(latest, before=before),), rollout)]
    shares, tagged = [], []
    for target in targets:
        revision = _target(target, revisions)
        if percent := target.whole("percent", 0):
            shares.append(Share(revision, percent, before if revision == latest else None))
        if tag := target.text("tag", ""):
            tagged.append(Route((Name(name.namespace, f"{tag}-{name.name}"),), (Share(revision),)))
    if (total := sum(share.percent for share in shares)) != _ALL:
        spec.at("traffic").fault(f"adds up to {total} percent, not to 100")
    return [Route((name,), tuple(shares), rollout), *tagged]


def _target(target: Place, revisions: list[Service]) -> Name:
    wanted = target.text("revisionName", "")
    if not wanted:
        return revisions[-1].name
    for service in revisions:
        if service.revision == wanted:
            return service.name
    known = ", ".join(service.revision for service in revisions)
    target.at("revisionName").fault(f"is {wanted!r}, no revision of these manifests, which have {known}")
    return revisions[-1].name


def _scale(pod: Place, noted: Place, reading: Reading) -> Scale:
    usual = reading.defaults
    wishes = Wishes(usual.minimum, usual.maximum, pod.whole("containerConcurrency", 0))
    return read_scale(wishes, noted, reading.skipped, usual)


def _limits(pod: Place) -> Limits:
    total = pod.number("timeoutSeconds", _TOTAL)
    limits = Limits(
        total,
        start=pod.number("responseStartTimeoutSeconds", min(total, _TOTAL)),
        idle=float(pod.whole("idleTimeoutSeconds", 0)),
    )
    for word, value in (("responseStartTimeoutSeconds", limits.start), ("idleTimeoutSeconds", limits.idle)):
        if value > total:
            pod.at(word).fault(f"is {value:g}, more than timeoutSeconds, {total:g}")
    return limits


def _containers(name: Name, pod: Place, reading: Reading) -> tuple[Container, tuple[Container, ...]]:
    """The container that requests go to, and those of the same pod."""
    found = pod.items("containers", required="model" not in pod.value)
    if pod.at("containers").value == []:
        pod.at("containers").fault("is empty")
    if not found and (runtime := next((word for word in _MODELS if word in pod.value), "")):
        pod.at(runtime).fault("needs a serving runtime's image, and none runs here: write a container with a command")
    reader = ContainerReader(name, pod, reading)
    read = [reader.read(each) for each in sorted(found, key=_takes_requests)]
    return (read[0], tuple(read[1:])) if read else (NOTHING, ())


def _takes_requests(container: Place) -> tuple[bool, bool, bool]:
    """Sorts first: the one container with a port (Knative), the transformer's (KServe), KServe's own."""
    name = container.value.get("name")
    return not container.value.get("ports"), name != "transformer-container", name != "kserve-container"
