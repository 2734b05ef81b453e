"""Waiting until resources are ready, or gone: by watches that are taken up again whatever ends them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError, UnavailableError
from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.plan import MANAGED
from headrace.manifests.cluster.progress import Step
from headrace.manifests.cluster.readiness import UNDATED, Readiness, readiness
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.concerns.shared import OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.progress import Report
    from headrace.manifests.resource import Resource

    Identity = tuple[str, str, str, str]
    Judge = Callable[[Resource | None], Readiness]

_CALM = 5.0
"""Seconds for which something that was changed must stay ready, where its status does not say whether it knows of the
change: KServe and KEDA look at one within a second."""
_FIRST_LOOK = 10.0
"""Seconds beyond the time given in which everything may be looked at for the first time: an end without a reason helps
nobody."""
_PAUSE = 1.0
"""Seconds before a watch is taken up again that ended at once or may not be had, and the resources are listed anew."""


class NotReadyError(HeadraceError):
    """Resources did not become what they should.

    Args:
        message: How many, and within which time.
        found: Each with what its controller says.
        waiting: All that were not ready then, also those that might have become so.
        hint: What to do.
    """

    code = "not-ready"
    retriable = True

    def __init__(
        self, message: str, *, found: dict[Reference, str], waiting: frozenset[Reference], hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.found = found
        self.waiting = waiting

    def __str__(self) -> str:
        return "\n  - ".join((super().__str__(), *(f"{each}: {why}" for each, why in self.found.items())))


async def wait_ready(  # all of them are the question
    api: ClusterApi,
    references: Collection[Reference],
    *,
    timeout: float,
    settle: float,
    report: Report,
    changed: Collection[Reference] = (),
) -> None:
    """Return when all are ready.

    Args:
        api: The cluster.
        references: What to wait for.
        timeout: Seconds for all of them together.
        settle: Seconds for which one may be in trouble before that counts as failed: some troubles pass by themselves.
        report: Is told what each waits for, and when it is ready.
        changed: Those that were ready before, perhaps, and were changed just now.

    Raises:
        NotReadyError: one failed, or the time is over.
    """
    doubted = {each.identity for each in changed if each.kind in UNDATED}
    await _Tracker(api, references, readiness, report, doubted).all_ready(timeout, settle)


async def wait_gone(api: ClusterApi, references: Collection[Reference], *, timeout: float, report: Report) -> None:
    """Return when none is there any more.

    Raises:
        NotReadyError: the time is over; with the finalizers that hold each.
    """
    await _Tracker(api, references, _goneness, report).all_ready(timeout, timeout)


def _goneness(resource: Resource | None) -> Readiness:
    if resource is None:
        return Readiness("ready")
    holders = resource["metadata"].get("finalizers")
    return Readiness("waiting", f"held by {', '.join(holders)}" if holders else "still there")


class _Tracker:
    """Keeps the newest state of each resource. One owner: the loop."""

    def __init__(
        self,
        api: ClusterApi,
        references: Collection[Reference],
        judge: Judge,
        report: Report,
        doubted: Collection[Identity] = (),
    ) -> None:
        self._api = api
        self._judge = judge
        self._report = report
        self._states: dict[Identity, Readiness] = {each.identity: Readiness("waiting", "") for each in references}
        self._names = {each.identity: each for each in references}
        self._troubled: dict[Identity, float] = {}
        self._doubted = set(doubted)
        self._calm: dict[Identity, float] = {}
        """Since when what is doubted has been ready."""
        self._unseen = len(self._queries())
        """How many kinds were not listed yet."""
        self._changed = asyncio.Event()

    async def all_ready(self, timeout: float, settle: float) -> None:
        """Follow every kind until all are ready."""
        if not self._names:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        followers = [asyncio.ensure_future(self._follow(each)) for each in self._queries()]
        try:
            while any(each.state != "ready" for each in self._states.values()):
                now = loop.time()
                self._judge_all(now, deadline, timeout, settle)
                ends = [
                    deadline if now < deadline else deadline + _FIRST_LOOK,
                    *(since + settle for since in self._troubled.values()),
                ]
                ends += [since + _CALM for since in self._calm.values()]
                self._changed.clear()
                woken = asyncio.ensure_future(self._changed.wait())
                done, _ = await asyncio.wait(
                    {woken, *followers}, timeout=max(min(ends) - now, 0.01), return_when=asyncio.FIRST_COMPLETED
                )
                woken.cancel()
                for follower in done & set(followers):
                    follower.result()
                self._believe(loop.time())
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    def _queries(self) -> list[Query]:
        """One a kind and namespace."""
        places = {(each.api_version, each.kind, each.namespace): None for each in self._names.values()}
        return [Query(*place, labels={MANAGED: OWNER}) for place in places]

    def _believe(self, now: float) -> None:
        """Take what has stayed ready for a while for ready."""
        for identity in [each for each, since in self._calm.items() if now - since >= _CALM]:
            self._doubted.discard(identity)
            del self._calm[identity]
            self._put(identity, Readiness("ready"))

    def _judge_all(self, now: float, deadline: float, timeout: float, settle: float) -> None:
        failed = {
            identity: state
            for identity, state in self._states.items()
            if state.state == "failed" or (identity in self._troubled and now - self._troubled[identity] >= settle)
        }
        late = {identity: state for identity, state in self._states.items() if state.state != "ready"}
        waiting = frozenset(self._names[identity] for identity in late)
        if failed:
            raise NotReadyError(f"{_count(failed)} failed", found=self._reasons(failed), waiting=waiting)
        if now >= (deadline + _FIRST_LOOK if self._unseen else deadline):
            message = f"{_count(late)} not {'ready' if self._judge is readiness else 'gone'} within {timeout:g} s"
            hint = "--timeout sets how long to wait"
            raise NotReadyError(message, found=self._reasons(late), waiting=waiting, hint=hint)

    def _reasons(self, states: dict[Identity, Readiness]) -> dict[Reference, str]:
        return {self._names[identity]: state.reason or "nothing is known of it" for identity, state in states.items()}

    async def _follow(self, query: Query) -> None:
        """Keep the states of a kind, for ever; a broken connection is waited out."""
        unseen = True
        while True:
            version = None
            with suppress(UnavailableError):
                listing = await self._api.find(query)
                self._see_all(query, listing.items)
                version = listing.version
                if unseen:
                    unseen = False
                    self._unseen -= 1
                    self._changed.set()
            while version is not None:
                version = await self._watch(query, version)
            await asyncio.sleep(_PAUSE)

    async def _watch(self, query: Query, version: str) -> str | None:
        """The version to go on from; None where the resources must be listed anew."""
        began = asyncio.get_running_loop().time()
        try:
            async with aclosing(self._api.watch(query, version)) as changes:
                async for change in changes:
                    version = change.resource["metadata"].get("resourceVersion", version)
                    if change.what != "bookmark":
                        self._see(change.resource, gone=change.what == "deleted")
        except UnavailableError:
            return None
        except RefusedError as refused:
            # Who may not watch may still list.
            if refused.reason not in ("gone", "forbidden"):
                raise
            return None
        short = asyncio.get_running_loop().time() - began < _PAUSE
        return None if short else version

    def _see_all(self, query: Query, items: Iterable[Resource]) -> None:
        there = {Reference.of(each).identity: each for each in items}
        for identity, name in self._names.items():
            if (name.api_version, name.kind, name.namespace) == (query.api_version, query.kind, query.namespace):
                self._put(identity, self._judge(there.get(identity)))

    def _see(self, resource: Resource, *, gone: bool) -> None:
        self._put(Reference.of(resource).identity, self._judge(None if gone else resource))

    def _put(self, identity: Identity, state: Readiness) -> None:
        if identity in self._doubted and state.state == "ready":
            self._calm.setdefault(identity, asyncio.get_running_loop().time())
            state = Readiness("waiting", "it was ready before the change too")
        else:
            # What is not ready any more has heard of the change.
            self._doubted.discard(identity)
            self._calm.pop(identity, None)
        if identity not in self._names or self._states[identity] == state:
            return
        self._states[identity] = state
        if state.state == "troubled":
            self._troubled.setdefault(identity, asyncio.get_running_loop().time())
        else:
            self._troubled.pop(identity, None)
        self._report(Step(self._names[identity], "ready" if state.state == "ready" else "waiting", state.reason))
        self._changed.set()


def _count(states: Collection[object]) -> str:
    return "1 resource" if len(states) == 1 else f"{len(states)} resources"
