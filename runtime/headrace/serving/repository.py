"""The models of this process by name and version, and their way in and out while it serves.

It owns which models are loaded. A model that leaves is first taken out of reach, then its last requests are waited
for, then it is stopped: nothing is ever taken from under a request.

With a memory budget, models that have not been asked for longest make room for one that is asked: they are *evicted*,
and come back when they are asked again. One that is *unloaded*, because somebody said so, stays away until somebody
says otherwise. Neither a model that works on a request is evicted, nor one that remembers something between requests.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError, UnavailableError
from headrace.models.kserve_api import ModelNotFound, ModelNotReady
from headrace.serving.memory import give_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from headrace.serving.hosted import Hosted

    Loader = Callable[[], Awaitable[Hosted]]

READY = "READY"
UNREADY = "UNREADY"
"""Loaded, and says of itself that it is not healthy."""
LOADING = "LOADING"
UNAVAILABLE = "UNAVAILABLE"
EVICTED = "evicted; loaded again when it is asked"
_POLL = 0.01
"""Seconds between two looks whether the last request to a model that leaves is answered."""
PATIENCE = 30.0
"""Seconds that a request waits for a model that comes back."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index (Open Inference Protocol, model repository extension)."""

    name: str
    state: str
    reason: str = ""
    version: str = ""

    def told(self) -> dict[str, str]:
        """The line as it is answered; a model without versions has none there either."""
        line = {"name": self.name, "state": self.state, "reason": self.reason}
        return {**line, "version": self.version} if self.version else line


@dataclass(slots=True, eq=False)
class Slot:
    """One version of one model, loaded or not."""

    name: str
    version: str = ""
    """Empty for a model without versions."""
    loader: Loader | None = None
    """How it is loaded; without one it is gone once it is unloaded."""
    hosted: Hosted | None = None
    size: int = 0
    """Bytes that it takes, or took when it was loaded last, or is thought to take; 0 where nothing is known."""
    evicted: bool = False
    """Not loaded, and to be loaded when it is asked."""
    used: float = 0.0
    fault: str = ""
    loading: bool = False
    waiting: int = 0
    """Requests for which it is being loaded: they have their turn before it may leave again."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    coming: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """Its name in metrics."""
        return f"{self.name}/{self.version}" if self.version else self.name

    @property
    def may_leave(self) -> bool:
        """Whether it can be evicted now."""
        hosted = self.hosted
        if hosted is None or self.loader is None or hosted.taken or self.waiting:
            return False
        return not hosted.remembers


class Repository:
    """Loaded models, and those that can be loaded.

    Args:
        models: The models that are loaded already.
        loaders: How each model is loaded again, by name; one that is not in it is gone once it is unloaded.
        budget: Bytes that all models together may take; 0 sets no bound.
    """

    def __init__(
        self, models: Iterable[Hosted] = (), loaders: Mapping[str, Loader] | None = None, budget: int = 0
    ) -> None:
        self.budget = budget
        self.evictions = 0
        self.left: Callable[[str, Hosted], Awaitable[None]] | None = None
        """Told of every model that has been stopped, with its key."""
        self._slots: dict[str, list[Slot]] = {}
        """By name, the version first that answers where none is asked for."""
        self._memory = asyncio.Lock()
        """Held by the one model that is being given room."""
        known = dict(loaders or {})
        for hosted in models:
            self.add(Slot(hosted.name, loader=known.pop(hosted.name, None), hosted=hosted))
        for name, loader in known.items():
            self.add(Slot(name, loader=loader))

    def add(self, slot: Slot) -> None:
        """Make a model known."""
        self._slots.setdefault(slot.name, []).append(slot)

    @property
    def slots(self) -> list[Slot]:
        """Every version of every model."""
        return [slot for slots in self._slots.values() for slot in slots]

    @property
    def loaded(self) -> dict[str, Hosted]:
        """The loaded models by name, and ``name/version`` where there are versions."""
        return {slot.key: slot.hosted for slot in self.slots if slot.hosted is not None}

    @property
    def names(self) -> list[str]:
        """The models that answer: loaded, or to be loaded when they are asked."""
        return [name for name, slots in self._slots.items() if any(slot.hosted or slot.evicted for slot in slots)]

    def versions(self, name: str) -> list[str]:
        """The versions of a model that answer; none for a model without versions."""
        return [slot.version for slot in self._slots.get(name, ()) if slot.version and (slot.hosted or slot.evicted)]

    def has_versions(self, name: str) -> bool:
        """Whether the model was given with versions."""
        return any(slot.version for slot in self._slots.get(name, ()))

    def get(self, name: str, version: str = "") -> Hosted:
        """The loaded model of this name.

        Raises:
            ModelNotFound: there is none.
        """
        slot = self._slot(name, version)
        if slot.hosted is None:
            raise ModelNotFound(name)
        return slot.hosted

    async def wake(self, name: str, version: str = "") -> Hosted:
        """The model of this name, loaded again if it was evicted.

        Raises:
            ModelNotFound: there is none, or it was unloaded.
            ModelNotReady: it failed to load, and why.
            UnavailableError: it is still loading, or there is no room for it now.
        """
        slot = self._slot(name, version)
        slot.used = time.monotonic()
        if slot.hosted is not None:
            return slot.hosted
        if not slot.evicted:
            raise ModelNotFound(name)
        if slot.coming is None:
            slot.coming = asyncio.ensure_future(self._come_back(slot))
            slot.coming.add_done_callback(partial(_forget, slot))
        slot.waiting += 1
        try:
            await asyncio.wait_for(asyncio.shield(slot.coming), PATIENCE)
            return self.get(name, version)
        except asyncio.TimeoutError:
            raise UnavailableError(f"Model '{name}' is being loaded") from None
        finally:
            slot.waiting -= 1

    async def ready(self, name: str, version: str = "") -> bool:
        """Whether the model answers when it is asked: one that was evicted does.

        Raises:
            ModelNotFound: there is none.
        """
        slot = self._slot(name, version)
        return slot.evicted if slot.hosted is None and slot.evicted else await self.get(name, version).ready()

    async def index(self, *, ready: bool = False) -> list[Entry]:
        """Every model that is loaded or can be.

        Args:
            ready: Only those that are ready.
        """
        known = [slot for slot in self.slots if slot.hosted is not None or slot.loader is not None]
        entries = [await _entry(slot) for slot in known]
        return [entry for entry in entries if entry.state == READY] if ready else entries

    async def load(self, name: str) -> None:
        """Load the model of this name, every version of it, unless it is loaded.

        Raises:
            ModelNotReady: it failed to load, and why; or nothing is known of it.
            UnavailableError: there is no room for it now.
        """
        slots = [slot for slot in self._slots.get(name, ()) if slot.hosted is not None or slot.loader is not None]
        if not slots:
            raise ModelNotReady(name)
        for slot in slots:
            slot.used = time.monotonic()
            await self._come_back(slot)
            if slot.hosted is None or not await slot.hosted.ready():
                raise ModelNotReady(name)

    async def unload(self, name: str) -> None:
        """Take the model out of reach, every version of it, and stop it when its last request is answered.

        Raises:
            ModelNotFound: it is neither loaded nor to come back.
        """
        slots = [slot for slot in self._slots.get(name, ()) if slot.hosted is not None or slot.evicted]
        if not slots:
            raise ModelNotFound(name)
        for slot in slots:
            async with slot.turn:
                slot.evicted = False
                await self._leave(slot)

    def _slot(self, name: str, version: str) -> Slot:
        slots = self._slots.get(name, ())
        # A model without versions answers for whatever version is asked, as KServe's server has it.
        found = next((slot for slot in slots if version in (slot.version, "") or not slot.version), None)
        if found is None:
            raise ModelNotFound(f"{name}, version {version}" if slots and version else name)
        return found

    async def _come_back(self, slot: Slot) -> None:
        async with AsyncExitStack() as held:
            await held.enter_async_context(slot.turn)
            if slot.hosted is not None:
                return
            if self.budget:
                await held.enter_async_context(self._memory)
                await self._make_room(slot, slot.size)
            hosted = await self._loaded(slot)
            if self.budget:
                try:
                    await self._make_room(slot, slot.size)
                except HeadraceError:
                    await hosted.stop()
                    raise
            slot.hosted, slot.evicted = hosted, False

    async def _loaded(self, slot: Slot) -> Hosted:
        if slot.loader is None:
            raise ModelNotReady(slot.name)
        slot.loading = True
        try:
            hosted = await slot.loader()
        except Exception as fault:
            slot.fault = str(fault)
            raise ModelNotReady(slot.name, str(fault)) from fault
        finally:
            slot.loading = False
        slot.fault = ""
        slot.size = hosted.size or slot.size
        return hosted

    async def _make_room(self, slot: Slot, size: int) -> None:
        """Evict models until ``size`` bytes more are within the budget.

        Raises:
            UnavailableError: the others are all in use, or it is larger than the budget by itself.
        """
        if size > self.budget:
            slot.fault = f"it takes {_mebibytes(size)}, and the budget of all models is {_mebibytes(self.budget)}"
            raise UnavailableError(f"Model '{slot.name}' does not fit: {slot.fault}", hint="raise --model-memory")
        while sum(other.size for other in self.slots if other.hosted is not None) + size > self.budget:
            idle = [other for other in self.slots if other is not slot and other.may_leave]
            if not idle:
                raise UnavailableError(f"Model '{slot.name}' waits for room: every loaded model is in use")
            await self._evict(min(idle, key=lambda other: other.used))

    async def _evict(self, slot: Slot) -> None:
        slot.evicted = True
        self.evictions += 1
        await self._leave(slot)

    async def _leave(self, slot: Slot) -> None:
        hosted, slot.hosted = slot.hosted, None
        if hosted is None:
            return
        while hosted.taken:  # noqa: ASYNC110  # the count is all that a hosted model tells
            await asyncio.sleep(_POLL)
        await hosted.stop()
        if self.left is not None:
            await self.left(slot.key, hosted)
        del hosted
        await asyncio.get_running_loop().run_in_executor(None, give_back)


async def _entry(slot: Slot) -> Entry:
    told = partial(Entry, slot.name, version=slot.version)
    if slot.loading:
        return told(LOADING)
    if slot.hosted is None:
        return told(UNAVAILABLE, slot.fault or (EVICTED if slot.evicted else "unloaded"))
    return told(READY) if await slot.hosted.ready() else told(UNREADY, "not healthy")


def _forget(slot: Slot, task: asyncio.Task[None]) -> None:
    slot.coming = None
    if not task.cancelled():
        task.exception()  # whoever waits is told; nobody need wait any more


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
