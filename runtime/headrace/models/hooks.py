"""What a model says about its hooks, for the server that calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Hook = TypeVar("Hook", bound="Callable[..., Any]")


def never_waits(hook: Hook) -> Hook:
    """Mark an ``async`` hook that awaits nothing: many of its calls can be made in one turn of the event loop."""
    hook.never_waits = True  # type: ignore[attr-defined]  # the mark
    return hook


def waits(hook: Callable[..., Any]) -> bool:
    """Whether a call of this hook may take its time: every one that is not marked."""
    return not getattr(hook, "never_waits", False)


def at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """What a call of a hook that never waits returns.

    Raises:
        HeadraceError: it waited.
    """
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    call.close()
    raise HeadraceError(
        f"{getattr(call, '__qualname__', 'A hook')} is marked never_waits, and waited", hint="take the mark away"
    )
