"""Which events of the topic an app answers: CESQL, and the dialects that Knative's Trigger has in ``filters``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from headrace.eventing.filters import FilterError, compile_filter, compile_filters
from headrace.eventing.filters.dialects import DIALECTS, attribute_faults
from headrace.manifests.parts.part import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.eventing.filters import Filter


def legal_expression(value: str) -> str:
    """A CESQL expression that is true or false."""
    try:
        compile_filter(value)
    except FilterError as fault:
        raise ValueError(fault.summary) from None
    return value


def legal_comparison(value: dict[str, str]) -> dict[str, str]:
    """Names of attributes and what their values are compared with."""
    for name, text in value.items():
        for why in attribute_faults(name, text):
            raise ValueError(f"{name}: {why}")
    return value


Cesql = Annotated[str, AfterValidator(legal_expression), Field(examples=["type = 'com.example.picture'"])]
Comparison = Annotated[dict[str, str], Field(min_length=1), AfterValidator(legal_comparison)]


class Dialect(Part):
    """One filter of the CloudEvents Subscriptions API: one of its keys, no more."""

    exact: Comparison | None = None
    """Attributes and the values that all of them have."""
    prefix: Comparison | None = None
    """Attributes and what their values begin with."""
    suffix: Comparison | None = None
    """Attributes and what their values end with."""
    all_of: Annotated[list[Dialect] | None, Field(min_length=1)] = Field(None, alias="all")
    """Filters that all match."""
    any_of: Annotated[list[Dialect] | None, Field(min_length=1)] = Field(None, alias="any")
    """Filters of which one at least matches."""
    none_of: Dialect | None = Field(None, alias="not")
    """A filter that does not match."""
    cesql: Cesql | None = None
    """A CloudEvents SQL expression that is true."""

    @model_validator(mode="after")
    def _one(self) -> Dialect:
        if len(self.model_fields_set) != 1 or not self.rule():
            raise ValueError(f"a filter has one of {', '.join(DIALECTS)}; write a list entry for each")
        return self

    def rule(self) -> dict[str, Any]:
        """The filter as the file has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def legal_filters(value: list[Dialect] | None) -> list[Dialect] | None:
    """Filters that are not nested too deeply, which no filter can see for itself."""
    try:
        compile_filters([each.rule() for each in value or ()])
    except FilterError as fault:
        raise ValueError("; ".join(fault.problems)) from None
    return value


Filters = Annotated[list[Dialect] | None, AfterValidator(legal_filters)]


def rules(expression: str | None, filters: Sequence[Dialect] | None) -> list[dict[str, Any]]:
    """The expression and the filters as one list of dialects, all of which must match."""
    return [*([{"cesql": expression}] if expression else []), *(each.rule() for each in filters or ())]


def event_filter(expression: str | None, filters: Sequence[Dialect] | None) -> Filter | None:
    """The compiled filter of an app's trigger; None where every event is meant."""
    wanted = rules(expression, filters)
    return compile_filters(wanted) if wanted else None
