"""Consumer groups: the classic protocol (KIP-134, KIP-345, KIP-394, KIP-429), whose assignors run in the clients.

Members live in memory: after a restart of the broker they join again. Committed offsets are the ledger's.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.members import Joined, Joining, Member, Synced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.local.broker.settings import BrokerSettings

logger = logging.getLogger(__name__)


_GENERATIONS = 100_000
"""Generations of a group that one run of the broker may have. A later run begins above: members say in which generation
they got their partitions, and only the highest is believed, though the claims of a lower one may be later (KIP-792)."""
_MOST_STARTS = 20_000
"""A generation is an int32."""


class State(str, Enum):
    """States of a group, by the names that clients are told."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


class Group:
    """The members of one group, and the generation that they agree on."""

    def __init__(self, group_id: str, settings: BrokerSettings, generation: int = 0) -> None:
        self.id = group_id
        self.state = State.EMPTY
        self.generation = generation
        self.protocol_type = ""
        self.protocol = ""
        self.members: dict[str, Member] = {}
        self._settings = settings
        self._leader = ""
        self._static: dict[str, str] = {}
        self._pending: dict[str, asyncio.TimerHandle] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._collecting = False

    async def join(self, joining: Joining) -> Joined:
        """Join, and wait until every member has.

        Returns:
            The new generation, or the current one where nothing changes for this member.

        Raises:
            Refusal: the member or its protocols do not fit.
        """
        self._check_join(joining)
        if not joining.member_id:
            return await self._join_new(joining)
        if joining.member_id in self._pending:
            self._forget_pending(joining.member_id)
            return await self._enter(joining.member_id, joining)
        member = self._member(joining.member_id, joining.instance_id)
        unchanged = member.metadata == joining.protocols
        if self.state is State.COMPLETING and unchanged:
            return self._current(member)
        if self.state is State.STABLE and unchanged and member.id != self._leader:
            return self._current(member)
        return await self._rejoin(member, joining)

    async def sync(
        self, member_id: str, instance_id: str | None, generation: int, assignments: Mapping[str, bytes]
    ) -> Synced:
        """Hand in the assignments (the leader) and wait for one's own.

        Raises:
            Refusal: unknown member, another generation, or a rebalance has begun.
        """
        member = self._member(member_id, instance_id)
        self._check_generation(generation)
        if self.state is State.PREPARING:
            raise Refusal(Code.REBALANCE_IN_PROGRESS)
        self._touch(member)
        if self.state is State.COMPLETING and member_id == self._leader:
            self._assign(assignments)
        if self.state is State.STABLE:
            return self._synced(member)
        member.answer_sync(Synced(Code.REBALANCE_IN_PROGRESS))
        member.sync = asyncio.get_running_loop().create_future()
        return await member.sync

    def heartbeat(self, member_id: str, instance_id: str | None, generation: int) -> None:
        """Keep a member in the group.

        Raises:
            Refusal: unknown member, another generation, or it must join again.
        """
        member = self._member(member_id, instance_id)
        self._check_generation(generation)
        self._touch(member)
        if self.state is State.PREPARING:
            raise Refusal(Code.REBALANCE_IN_PROGRESS)

    def leave(self, member_id: str, instance_id: str | None) -> None:
        """Take a member out.

        Raises:
            Refusal: it is unknown, or the instance id belongs to another member.
        """
        if member_id in self._pending:
            self._forget_pending(member_id)
            self._complete_if_all_joined()
            return
        known = self._static.get(instance_id, "") if instance_id is not None else ""
        self._remove(self._member(member_id or known, instance_id), Code.UNKNOWN_MEMBER_ID)

    def check_commit(self, member_id: str, instance_id: str | None, generation: int) -> None:
        """Check that a client may commit offsets.

        Raises:
            Refusal: it is not a member of this generation; or no member, and the group has some.
        """
        if generation < 0 and not member_id:
            if self.members:
                raise Refusal(Code.UNKNOWN_MEMBER_ID, "The group has members, only they commit")
            return
        member = self._member(member_id, instance_id)
        self._check_generation(generation)
        self._touch(member)
        if self.state is State.COMPLETING:
            raise Refusal(Code.REBALANCE_IN_PROGRESS)

    def close(self) -> None:
        """Stop the timers; nobody is answered any more."""
        for timer in [self._timer, *self._pending.values(), *(one.timer for one in self.members.values())]:
            if timer is not None:
                timer.cancel()

    def _check_join(self, joining: Joining) -> None:
        settings = self._settings
        if not settings.min_session_timeout <= joining.session_timeout <= settings.max_session_timeout:
            raise Refusal(Code.INVALID_SESSION_TIMEOUT)
        if not joining.protocols or not joining.protocol_type:
            raise Refusal(Code.INCONSISTENT_GROUP_PROTOCOL)
        others = [one for one in self.members.values() if one.id != joining.member_id]
        if not others:
            return
        common = set(joining.protocols).intersection(*(one.metadata for one in others))
        if joining.protocol_type != self.protocol_type or not common:
            raise Refusal(Code.INCONSISTENT_GROUP_PROTOCOL)

    async def _join_new(self, joining: Joining) -> Joined:
        member_id = f"{joining.instance_id or joining.client_id}-{uuid.uuid4()}"
        if joining.instance_id is not None and joining.instance_id in self._static:
            return await self._replace(self.members[self._static[joining.instance_id]], member_id, joining)
        if joining.instance_id is None and joining.needs_id_first:
            self._expect(member_id, joining.session_timeout)
            return Joined(member_id, Code.MEMBER_ID_REQUIRED)
        return await self._enter(member_id, joining)

    async def _enter(self, member_id: str, joining: Joining) -> Joined:
        member = self.members[member_id] = Member(member_id, joining)
        self.protocol_type = joining.protocol_type
        if joining.instance_id is not None:
            self._static[joining.instance_id] = member_id
        return await self._rejoin(member, joining)

    async def _replace(self, old: Member, member_id: str, joining: Joining) -> Joined:
        """A static member that restarted takes the place, and the assignment, of its former self."""
        leader = self._leader
        old.dismiss(Code.FENCED_INSTANCE_ID)
        self.members = {(member_id if key == old.id else key): one for key, one in self.members.items()}
        member = self.members[member_id] = Member(member_id, joining, old.assignment)
        self._static[joining.instance_id or ""] = member_id
        if leader == old.id:
            self._leader = member_id
        if self.state is State.STABLE and old.metadata == joining.protocols:
            self._touch(member)
            # Told who led before, a restarted leader does not assign anew (KIP-345).
            return Joined(member_id, Code.NONE, self.generation, self.protocol_type, self.protocol, leader)
        return await self._rejoin(member, joining)

    async def _rejoin(self, member: Member, joining: Joining) -> Joined:
        member.joining = joining
        member.answer_join(Joined(member.id, Code.REBALANCE_IN_PROGRESS))
        waiting: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
        member.join = waiting
        self._touch(member)
        if self.state is not State.PREPARING:
            self._prepare()
        self._complete_if_all_joined()
        return await waiting

    def _expect(self, member_id: str, session_timeout: int) -> None:
        loop = asyncio.get_running_loop()
        self._pending[member_id] = loop.call_later(session_timeout / 1000, self._expire_pending, member_id)

    def _forget_pending(self, member_id: str) -> None:
        self._pending.pop(member_id).cancel()

    def _expire_pending(self, member_id: str) -> None:
        self._pending.pop(member_id, None)
        self._complete_if_all_joined()

    def _prepare(self) -> None:
        for member in self.members.values():
            member.answer_sync(Synced(Code.REBALANCE_IN_PROGRESS))
        self._collecting = self.state is State.EMPTY
        self.state = State.PREPARING
        longest = max((one.joining.rebalance_timeout for one in self.members.values()), default=0) / 1000
        self._set_timer(self._settings.initial_rebalance_delay if self._collecting else longest, self._complete)

    def _complete_if_all_joined(self) -> None:
        waiting = self.state is State.PREPARING and not self._collecting and not self._pending
        if waiting and all(one.is_joining for one in self.members.values()):
            self._complete()

    def _complete(self) -> None:
        """Begin a generation with those that joined; the others are out, but static members."""
        self._collecting = False
        self._stop_timer()
        for member in [one for one in self.members.values() if not one.is_joining]:
            if member.joining.instance_id is None:
                self._forget(member, Code.UNKNOWN_MEMBER_ID)
        joined = [one for one in self.members.values() if one.is_joining]
        self.generation += 1
        if not joined:
            # Static members that are away keep their places until their sessions end.
            return self._empty() if not self.members else self._set_timer(1, self._complete)
        if self._leader not in {one.id for one in joined}:
            self._leader = joined[0].id
        self.protocol = self._vote()
        self.state = State.COMPLETING
        for member in self.members.values():
            member.assignment = b""
        for member in joined:
            member.answer_join(self._current(member))
            self._touch(member)
        return self._set_timer(max(one.joining.rebalance_timeout for one in joined) / 1000, self._drop_unsynced)

    def _vote(self) -> str:
        common = set.intersection(*(set(one.metadata) for one in self.members.values()))
        votes = Counter(next(name for name in one.metadata if name in common) for one in self.members.values())
        return votes.most_common(1)[0][0]

    def _current(self, member: Member) -> Joined:
        members = tuple(
            (one.id, one.joining.instance_id, one.metadata.get(self.protocol, b"")) for one in self.members.values()
        )
        return Joined(
            member.id,
            Code.NONE,
            self.generation,
            self.protocol_type,
            self.protocol,
            self._leader,
            members if member.id == self._leader else (),
        )

    def _assign(self, assignments: Mapping[str, bytes]) -> None:
        self._stop_timer()
        self.state = State.STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.id, b"")
            member.answer_sync(self._synced(member))

    def _synced(self, member: Member) -> Synced:
        return Synced(Code.NONE, self.protocol_type, self.protocol, member.assignment)

    def _drop_unsynced(self) -> None:
        """The leader did not assign in time: go on without those that do not wait for it."""
        for member in [one for one in self.members.values() if not one.is_syncing]:
            self._remove(member, Code.UNKNOWN_MEMBER_ID)

    def _touch(self, member: Member) -> None:
        if member.timer is not None:
            member.timer.cancel()
        loop = asyncio.get_running_loop()
        member.timer = loop.call_later(member.joining.session_timeout / 1000, self._expire, member)

    def _expire(self, member: Member) -> None:
        if self.members.get(member.id) is not member:
            return
        if member.is_joining or member.is_syncing:
            # It waits for the group, not the group for it.
            self._touch(member)
            return
        logger.info("Group '%s': member %s is out, no heartbeat", self.id, member.id)
        self._remove(member, Code.UNKNOWN_MEMBER_ID)

    def _remove(self, member: Member, code: Code) -> None:
        self._forget(member, code)
        if not self.members:
            if not (self.state is State.PREPARING and self._pending):
                self.generation += 1
                self._empty()
        elif self.state is State.PREPARING:
            self._complete_if_all_joined()
        else:
            self._prepare()
            self._complete_if_all_joined()

    def _forget(self, member: Member, code: Code) -> None:
        self.members.pop(member.id, None)
        member.dismiss(code)
        if member.joining.instance_id is not None:
            self._static.pop(member.joining.instance_id, None)
        if self._leader == member.id:
            self._leader = ""

    def _empty(self) -> None:
        self._stop_timer()
        self.state = State.EMPTY
        self._leader = self.protocol = ""

    def _member(self, member_id: str, instance_id: str | None) -> Member:
        if instance_id is not None and self._static.get(instance_id, member_id) != member_id:
            raise Refusal(Code.FENCED_INSTANCE_ID)
        member = self.members.get(member_id)
        if member is None:
            raise Refusal(Code.UNKNOWN_MEMBER_ID)
        return member

    def _check_generation(self, generation: int) -> None:
        if generation != self.generation:
            raise Refusal(Code.ILLEGAL_GENERATION)

    def _set_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Groups:
    """Every group that has, or had, members since the start."""

    def __init__(self, settings: BrokerSettings, starts: int = 0) -> None:
        self._settings = settings
        self._first = starts % _MOST_STARTS * _GENERATIONS
        self._groups: dict[str, Group] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def get(self, group_id: str) -> Group | None:
        """The group, or None when it never had a member."""
        return self._groups.get(group_id)

    def found_or_made(self, group_id: str) -> Group:
        """The group, made where it is missing.

        Raises:
            Refusal: the id is empty.
        """
        if not group_id:
            raise Refusal(Code.INVALID_GROUP_ID)
        return self._groups.setdefault(group_id, Group(group_id, self._settings, self._first))

    def delete(self, group_id: str) -> None:
        """Forget a group without members.

        Raises:
            Refusal: it has members.
        """
        group = self._groups.get(group_id)
        if group is not None and group.members:
            raise Refusal(Code.NON_EMPTY_GROUP)
        if group is not None:
            group.close()
            del self._groups[group_id]

    def close(self) -> None:
        """Stop every timer."""
        for group in self._groups.values():
            group.close()
