"""What was deployed of an app, kept in the cluster beside it: ConfigMaps in the app's namespace.

``APP-deployed`` lists every resource that the app has, so that what is no longer rendered can be pruned, also after a
deploy that ended half-way. ``APP-revision-N`` holds the manifests of one deploy, so that they can be applied again.
Neither holds a secret, since manifests only refer to those.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import yaml

from headrace.errors import HeadraceError
from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.plan import MANAGED, NAME
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.concerns.shared import OWNER
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.resource import Resource

KEPT_REVISIONS = 10
"""Of one app; older ones are removed."""
_COMPONENT = "app.kubernetes.io/component"
_ABOUT = "headrace.dev/"
_MANIFESTS = "manifests.yaml.gz"

State = Literal["applying", "deployed"]
"""``applying`` until everything was ready: so also of a deploy that failed."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One deploy of an app."""

    number: int
    digest: str
    """Of the manifests: equal ones are the same revision."""
    state: State
    time: str
    """When it began, as RFC 3339 in UTC."""
    note: str
    """Such as ``rollback to 3``."""
    packed: str
    """The manifests: YAML, gzip, base64."""

    @classmethod
    def of(cls, number: int, resources: Sequence[Resource], *, time: str, note: str = "") -> Revision:
        """The revision of these manifests, at its beginning."""
        text = to_yaml(resources).encode()
        # No time in the archive: equal manifests have equal bytes.
        packed = base64.b64encode(gzip.compress(text, mtime=0)).decode()
        return cls(number, digest_of(resources), "applying", time, note, packed)

    @property
    def resources(self) -> list[Resource]:
        """The manifests.

        Raises:
            HeadraceError: somebody has changed them.
        """
        try:
            text = gzip.decompress(base64.b64decode(self.packed))
            found = [each for each in yaml.load_all(text, Loader=yaml.SafeLoader) if each]
        except (ValueError, OSError, EOFError, yaml.YAMLError):
            found = []
        if not found or digest_of(found) != self.digest:
            raise HeadraceError(f"Revision {self.number} is damaged", hint="roll back --to another one")
        return found


def digest_of(resources: Iterable[Resource]) -> str:
    """A short hash of manifests."""
    return hashlib.sha256(to_yaml(resources).encode()).hexdigest()[:16]


class History:
    """The records of one app in a cluster."""

    def __init__(self, api: ClusterApi, app: str, namespace: str) -> None:
        self.api = api
        self._app = app
        self._namespace = namespace

    async def applied(self) -> tuple[Reference, ...]:
        """Every resource that the app was ever given and that was not pruned since."""
        found = (await self.api.find(Query("v1", "ConfigMap", self._namespace, self._deployed))).first
        try:
            listed = json.loads((found or {}).get("data", {}).get("resources", "[]"))
            return tuple(Reference(*each) for each in listed)
        except (ValueError, TypeError):
            raise HeadraceError(
                f"ConfigMap {self._namespace}/{self._deployed} is damaged",
                hint="delete it; what is no longer rendered is then no longer pruned",
            ) from None

    async def remember(self, references: Iterable[Reference]) -> None:
        """The app has these resources, and no others."""
        listed = json.dumps([each.to_list() for each in sorted(set(references))])
        await self._write(self._deployed, "deployed", data={"resources": listed})

    async def revisions(self) -> list[Revision]:
        """The deploys that are kept, oldest first."""
        labels = {MANAGED: OWNER, NAME: self._app, _COMPONENT: "revision"}
        found = await self.api.find(Query("v1", "ConfigMap", self._namespace, labels=labels))
        revisions = [revision for each in found.items if (revision := _read(each))]
        return sorted(revisions, key=lambda each: each.number)

    async def keep(self, revision: Revision) -> None:
        """Write a revision down.

        Raises:
            RefusedError: another deploy has written one of that number meanwhile.
        """
        about = {"digest": revision.digest, "state": revision.state, "time": revision.time, "note": revision.note}
        await self._write(
            self._named(revision.number),
            "revision",
            annotations={f"{_ABOUT}{key}": value for key, value in about.items() if value},
            immutable=True,
            binaryData={_MANIFESTS: revision.packed},
        )

    async def trim(self, revisions: Sequence[Revision]) -> None:
        """Remove the oldest but the last good one."""
        good = [each.number for each in revisions if each.state == "deployed"]
        for each in revisions[:-KEPT_REVISIONS]:
            if each.number != (good[-1] if good else 0):
                await self.api.delete(self._reference(self._named(each.number)))

    async def forget(self) -> None:
        """Remove everything that is known of the app."""
        for each in await self.revisions():
            await self.api.delete(self._reference(self._named(each.number)))
        await self.api.delete(self._reference(self._deployed))

    @property
    def _deployed(self) -> str:
        return f"{self._app}-deployed"

    def _named(self, number: int) -> str:
        return f"{self._app}-revision-{number}"

    def _reference(self, name: str) -> Reference:
        return Reference("v1", "ConfigMap", self._namespace, name)

    async def _write(
        self, name: str, component: str, *, annotations: dict[str, str] | None = None, **content: object
    ) -> None:
        labels = {NAME: self._app, _COMPONENT: component, "app.kubernetes.io/part-of": OWNER, MANAGED: OWNER}
        about = {"name": name, "namespace": self._namespace, "labels": labels, "annotations": annotations or {}}
        record = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, **content}
        # By force: the records are Headrace's alone.
        await self.api.apply(record, force=True)


def _read(record: Resource) -> Revision | None:
    number = record["metadata"]["name"].rpartition("-")[2]
    about: dict[str, str] = record["metadata"].get("annotations") or {}
    packed = (record.get("binaryData") or {}).get(_MANIFESTS)
    if not number.isdecimal() or packed is None:
        return None
    state: State = "deployed" if about.get(f"{_ABOUT}state") == "deployed" else "applying"
    return Revision(
        number=int(number),
        digest=about.get(f"{_ABOUT}digest", ""),
        state=state,
        time=about.get(f"{_ABOUT}time", ""),
        note=about.get(f"{_ABOUT}note", ""),
        packed=packed,
    )
