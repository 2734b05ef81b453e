"""Models that remember something between the requests of one key: a call, a camera, a conversation.

A class names an event attribute as its key and gets, beside the payload, the state that the key's last request left.
Headrace's server has at most one request of a key in flight, in the order in which they came, whatever else is merged
or runs beside them. State is kept in the memory of one replica, for as many keys as ``state_limit`` says.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from headrace.errors import HeadraceError
from headrace.models.kserve_api import InferRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEYS = 10_000
"""How many keys' states are kept where a class does not say."""


@runtime_checkable
class Keyed(Protocol):
    """What a server asks of a model with keyed state; :class:`KeyedModel` has all but ``predict_keyed``."""

    state_key: str
    """An event attribute: ``subject``, ``partitionkey``, an extension. A plain v2 request gives it as the parameter of
    that name."""
    state_limit: int
    """How many keys' states are kept; the one that was used longest ago goes first."""

    def predict_keyed(self, payload: Any, headers: dict[str, str], states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        """The answer, and the states that the keys have now.

        Args:
            payload: One request; or several of different keys, merged, where the class has batching hooks.
            headers: The request's headers; empty where several are merged.
            states: For each request in ``payload`` what its key's last one left; None for a key that is new, and for
                a request without a key. They are not to be changed: a run that fails leaves them as they were.

        Returns:
            The answer, and for each request the new state; None forgets the key.
        """


class StateStore:
    """The states of the keys that were used last.

    Args:
        limit: How many keys.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._states: OrderedDict[str, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def of(self, keys: Sequence[str | None]) -> list[Any]:
        """The state of each; None where there is none."""
        return [None if key is None else self._states.get(key) for key in keys]

    def keep(self, keys: Sequence[str | None], states: Sequence[Any]) -> None:
        """What each key has from now on.

        Raises:
            HeadraceError: there are not as many states as keys: nothing is kept.
        """
        if len(states) != len(keys):
            raise HeadraceError(f"predict_keyed() was given {len(keys)} states and returned {len(states)}")
        for key, state in zip(keys, states, strict=True):
            if key is None:
                continue
            self._states.pop(key, None)
            if state is not None:
                self._states[key] = state
        while len(self._states) > self._limit:
            self._states.popitem(last=False)


class KeyedModel:
    """Beside ``kserve.Model``, before it: ``predict`` in terms of ``predict_keyed``, for KServe's own server.

    That one calls a blocking ``predict`` on its event loop, so there too a key's requests come one after another.
    """

    state_key: ClassVar[str] = ""
    state_limit: ClassVar[int] = KEYS
    _store: StateStore | None = None

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """The answer of ``predict_keyed`` to one request; its state is kept in the model itself."""
        if self._store is None:
            self._store = StateStore(self.state_limit)
        keys = [key_of(self.state_key, payload, headers or {})]
        answer, states = self.predict_keyed(payload, headers or {}, self._store.of(keys))
        self._store.keep(keys, states)
        return answer

    def predict_keyed(self, payload: Any, headers: dict[str, str], states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        """See :meth:`Keyed.predict_keyed`."""
        raise NotImplementedError(f"{type(self).__name__} must define predict_keyed()")


def key_of(attribute: str, payload: Any, headers: Mapping[str, str]) -> str | None:
    """The key of a request: the event attribute, else the v2 parameter of that name; None where it has neither."""
    value: Any = headers.get(f"ce-{attribute}")
    if value is None and isinstance(payload, InferRequest):
        value = (payload.parameters or {}).get(attribute)
    return None if value is None else str(value)
