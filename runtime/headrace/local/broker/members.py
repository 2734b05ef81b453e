"""One member of a consumer group, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.local.broker.codes import Code

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True)
class Joining:
    """What a client says when it joins."""

    member_id: str
    """Empty for a client that has none yet."""
    instance_id: str | None
    """Set for a static member (KIP-345)."""
    client_id: str
    client_host: str
    session_timeout: int
    """Milliseconds without a heartbeat after which the member is out."""
    rebalance_timeout: int
    """Milliseconds that it may take to join again."""
    protocol_type: str
    protocols: dict[str, bytes]
    """The member's metadata by assignor, its favourite first."""
    needs_id_first: bool
    """Whether the client takes its member id first and joins again with it (KIP-394)."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to a join."""

    member_id: str
    code: Code = Code.NONE
    generation: int = -1
    protocol_type: str = ""
    protocol: str = ""
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()
    """Id, instance id and metadata of every member: for the leader alone, which assigns."""


@dataclass(frozen=True, slots=True)
class Synced:
    """The answer to a sync: the member's assignment."""

    code: Code = Code.NONE
    protocol_type: str = ""
    protocol: str = ""
    assignment: bytes = b""


@dataclass(slots=True)
class Member:
    """A member, as the group keeps it."""

    id: str
    joining: Joining
    """Its last join."""
    assignment: bytes = b""
    join: asyncio.Future[Joined] | None = None
    """Waits for the group to be complete."""
    sync: asyncio.Future[Synced] | None = None
    """Waits for the leader's assignment."""
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def is_joining(self) -> bool:
        """Whether the client waits in a join; not when its connection has gone."""
        return self.join is not None and not self.join.done()

    @property
    def is_syncing(self) -> bool:
        """Whether the client waits in a sync."""
        return self.sync is not None and not self.sync.done()

    @property
    def metadata(self) -> dict[str, bytes]:
        """Metadata by assignor."""
        return self.joining.protocols

    def answer_join(self, answer: Joined) -> None:
        """Answer the join that waits, if one does."""
        if self.join is not None and not self.join.done():
            self.join.set_result(answer)
        self.join = None

    def answer_sync(self, answer: Synced) -> None:
        """Answer the sync that waits, if one does."""
        if self.sync is not None and not self.sync.done():
            self.sync.set_result(answer)
        self.sync = None

    def dismiss(self, code: Code) -> None:
        """Answer everything that waits with an error and stop the timer."""
        self.answer_join(Joined(self.id, code))
        self.answer_sync(Synced(code))
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
