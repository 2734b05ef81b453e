"""What running an app for years needs: rollouts, disruptions, limits, costs, a namespace of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from headrace.manifests import names
from headrace.manifests.parts import values
from headrace.manifests.parts.part import Bytes, Cores, Duration, Part

_SECOND = timedelta(seconds=1)
Label = Annotated[str, AfterValidator(values.label)]


class Rollout(Part):
    """How a changed predictor takes over."""

    canary: Annotated[int, Field(ge=0, le=100)] | None = None
    """Per cent of the requests that the new revision gets; the one before keeps the rest until you raise it to 100 or
    remove the key. 0 takes the new one out again."""
    duration: Duration = timedelta(minutes=2)
    """Time over which Knative moves the requests to a new revision, 0s to 1h; 0s moves all at once."""
    tags: bool = False
    """An address of its own for each revision (`prev-...`, `latest-...`), to try it before it gets requests."""

    @field_validator("duration")
    @classmethod
    def _whole(cls, value: timedelta) -> timedelta:
        if value % _SECOND:
            raise ValueError("Knative takes whole seconds here; write 30s or 5m")
        return names.within(value, timedelta(), 3600 * _SECOND)


class Disruption(Part):
    """What stays up while nodes are drained or full."""

    priority: Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)] = 1000
    """Priority of the app's pods; those of higher priority are placed first, and nobody is evicted for them."""
    models: bool = False
    """Give predictor and transformer the priority and spread them over zones as well. Knative must allow it
    (config-features kubernetes.podspec-priorityclassname and -topologyspreadconstraints: enabled)."""


class Quota(Part):
    """A bound on what the app's namespace may use: the sum of what its apps may grow to. Needs `isolation`."""

    headroom: Annotated[float, Field(ge=1, le=10, strict=False)] = 1.25
    """The sum is multiplied by this, so that a rollout can run old and new side by side."""
    cpu: Cores | None = None
    """Cores instead of the sum."""
    memory: Bytes | None = None
    """Bytes of memory instead of the sum."""
    gpu: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """GPUs instead of the sum."""


class Cost(Part):
    """Labels under which cost reports (OpenCost, Kubecost) add up what the app uses."""

    team: Label | None = None
    """Who runs it."""
    owner: Label | None = None
    """Who answers for it."""
    department: Label | None = None
    """Who pays: the cost centre."""
    product: Label | None = None
    """What it is for."""
    env: Label | None = None
    """Stage: prod, staging, dev."""


class Isolation(Part):
    """A namespace of its own for the app, or for the apps of one owner, with pod security `restricted`.

    Nothing is rendered for `default` and `kube-` namespaces, which others share.
    """
