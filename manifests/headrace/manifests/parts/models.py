"""Models beside an app's first, in the same server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from headrace.manifests import names
from headrace.manifests.parts.part import Bytes, Part

if TYPE_CHECKING:
    from headrace.manifests.parts.compute import Resources


class MoreModel(Part):
    """One more model of the predictor's server, or another version of the first."""

    name: Annotated[str, AfterValidator(names.app), Field(examples=["small"])]
    """Its name in paths: /v2/models/NAME/infer. The app's own name, for another version of the first model."""
    class_path: Annotated[
        str, Field(alias="class", examples=["package.module:Class", "model.py:Class"]), AfterValidator(names.class_path)
    ]
    """The class to serve, as in `predictor`."""
    model: Annotated[str, AfterValidator(names.uri)] | None = None
    """Where its weights are, as in `predictor`. KServe fetches the first model's alone: the image needs the extra
    `storage` and the variables of a login for s3:// and the like."""
    version: Annotated[str, AfterValidator(names.version)] | None = None
    """Its version in paths: /v2/models/NAME/versions/VERSION/infer; a model without versions unless you say."""

    @property
    def key(self) -> str:
        """Name and version, as the server is given them."""
        return f"{self.name}/{self.version}" if self.version else self.name


class SeveralModels(Part):
    """What a predictor says of models beside its first."""

    models: list[MoreModel] | None = None
    """Models beside this one in the same server, each asked at its own paths; the topic's events go to this one."""
    model_memory: Bytes | None = None
    """Bytes that all models of the server take together: 3Gi. Those not asked for longest make room for one that is
    asked; no bound unless you say. What a run needs beside the weights comes on top: keep it well under the memory."""

    @field_validator("models")
    @classmethod
    def _told_apart(cls, value: list[MoreModel] | None) -> list[MoreModel] | None:
        keys = [model.key for model in value or ()]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"{twice[0]} is there twice; give one of them another name, or both a version")
        bare = {model.name for model in value or () if not model.version}
        if mixed := sorted(bare & {model.name for model in value or () if model.version}):
            raise ValueError(f"{mixed[0]} has versions, and one without; give each of them a version")
        return value

    @field_validator("model_memory")
    @classmethod
    def _within_memory(cls, value: int | None, info: ValidationInfo) -> int | None:
        resources: Resources | None = info.data.get("resources")  # of the component
        if value and resources and not resources.gpu and value > resources.memory:
            raise ValueError(
                "the models may take more than the container's memory; lower it, or raise resources.memory"
            )
        return value
