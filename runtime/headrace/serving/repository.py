"""The models of this process by name, and their way in and out while it serves.

It owns which models are loaded. A model that leaves is first taken out of reach, then its last requests are waited
for, then it is stopped: nothing is ever taken from under a request.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.models.kserve_api import ModelNotFound, ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from headrace.serving.hosted import Hosted

    Loader = Callable[[], Awaitable[Hosted]]

READY = "READY"
UNREADY = "UNREADY"
"""Loaded, and says of itself that it is not healthy."""
LOADING = "LOADING"
UNAVAILABLE = "UNAVAILABLE"
_POLL = 0.01
"""Seconds between two looks whether the last request to a model that leaves is answered."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index (Open Inference Protocol, model repository extension)."""

    name: str
    state: str
    reason: str = ""


class Repository:
    """Loaded models, and those that can be loaded.

    Args:
        models: The models that are loaded already.
        loaders: How each model is loaded again, by name; one that is not in it is gone once it is unloaded.
    """

    def __init__(self, models: Iterable[Hosted], loaders: Mapping[str, Loader] | None = None) -> None:
        self.loaded: dict[str, Hosted] = {hosted.name: hosted for hosted in models}
        self._loaders = dict(loaders or {})
        self._faults: dict[str, str] = {}
        self._loading: set[str] = set()
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def get(self, name: str) -> Hosted:
        """The loaded model of this name.

        Raises:
            ModelNotFound: there is none.
        """
        hosted = self.loaded.get(name)
        if hosted is None:
            raise ModelNotFound(name)
        return hosted

    async def index(self, *, ready: bool = False) -> list[Entry]:
        """Every model that is loaded or can be.

        Args:
            ready: Only those that are ready.
        """
        names = [*self.loaded, *(name for name in self._loaders if name not in self.loaded)]
        entries = [await self._entry(name) for name in names]
        return [entry for entry in entries if entry.state == READY] if ready else entries

    async def load(self, name: str) -> None:
        """Load the model of this name, unless it is loaded.

        Raises:
            ModelNotReady: it failed to load, and why; or nothing is known of it.
        """
        async with self._turns[name]:
            if name not in self.loaded:
                await self._load(name)
        if not await self.loaded[name].ready():
            raise ModelNotReady(name)

    async def unload(self, name: str) -> None:
        """Take the model out of reach, and stop it when its last request is answered.

        Raises:
            ModelNotFound: it is not loaded.
        """
        async with self._turns[name]:
            hosted = self.get(name)
            del self.loaded[name]
            while hosted.taken:  # noqa: ASYNC110  # the count is all that a hosted model tells
                await asyncio.sleep(_POLL)
            await hosted.stop()

    async def _load(self, name: str) -> None:
        loader = self._loaders.get(name)
        if loader is None:
            raise ModelNotReady(name)
        self._loading.add(name)
        try:
            self.loaded[name] = await loader()
            self._faults.pop(name, None)
        except Exception as fault:
            self._faults[name] = str(fault)
            raise ModelNotReady(name, str(fault)) from fault
        finally:
            self._loading.discard(name)

    async def _entry(self, name: str) -> Entry:
        if name in self._loading:
            return Entry(name, LOADING)
        hosted = self.loaded.get(name)
        if hosted is None:
            return Entry(name, UNAVAILABLE, self._faults.get(name, "unloaded"))
        return Entry(name, READY) if await hosted.ready() else Entry(name, UNREADY, "not healthy")
