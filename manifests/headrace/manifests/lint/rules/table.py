"""Every rule, in the order in which findings of one place are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.lint.rules import (
    access,
    containers,
    delivery,
    eventing,
    kafka,
    knative,
    known_annotations,
    kserve,
    restricted,
    scaling,
    schema,
    structure,
)

if TYPE_CHECKING:
    from headrace.manifests.lint.finding import Joint, Rule

ALL: tuple[Rule | Joint, ...] = (
    *structure.RULES,
    *known_annotations.RULES,
    *kserve.RULES,
    *knative.RULES,
    *delivery.RULES,
    *eventing.RULES,
    *containers.RULES,
    *scaling.RULES,
    *kafka.RULES,
    *access.RULES,
    *restricted.RULES,
    # Last: where a rule above says more about the same place, the schema's word is left out.
    *schema.RULES,
)
