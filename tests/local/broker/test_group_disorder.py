"""Whatever members do, and however they vanish, a group settles: nobody waits for ever, nobody has another's share."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.groups import Group, Groups
from headrace.local.broker.members import Joined, Joining
from headrace.local.broker.settings import BrokerSettings

NAMES = ("a", "b", "c", "static-1", "static-2")
LOST = (Code.UNKNOWN_MEMBER_ID, Code.FENCED_INSTANCE_ID)


@dataclass
class Club:
    """A group, and what its members believe."""

    group: Group
    chance: random.Random
    disorder: bool = True
    shares: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Generation and assignment of every member that has one."""

    def is_settled(self) -> bool:
        """Whether all members are in one generation, each with a share of its own."""
        generations = {generation for generation, _ in self.shares.values()}
        shares = {share for _, share in self.shares.values()}
        return len(self.shares) == len(shares) == len(self.group.members) == len(NAMES) and len(generations) == 1


class Simulated:
    """A client that keeps to the protocol, as long as it lives."""

    def __init__(self, name: str, club: Club) -> None:
        self._name = name
        self._instance = name if name.startswith("static") else None
        self._club = club
        self._id = ""

    async def live(self) -> None:
        """Join, sync, beat; again after every rebalance; until cancelled, as by a lost connection."""
        try:
            while True:
                try:
                    await self._round()
                except Refusal as refusal:
                    self._forget(refusal.code)
                    await asyncio.sleep(0.01)
                self._club.shares.pop(self._name, None)
        finally:
            self._club.shares.pop(self._name, None)

    async def _round(self) -> None:
        protocols = {"assignor": self._name.encode()}
        asked = Joining(
            self._id, self._instance, self._name, "host", 400, 400, "consumer", protocols, self._instance is None
        )
        joined = await self._club.group.join(asked)
        self._id = joined.member_id
        self._forget(joined.code)
        if joined.code is Code.NONE:
            await self._settle(joined)

    async def _settle(self, joined: Joined) -> None:
        leads = joined.leader == self._id
        shares = {member: b"%d" % number for number, (member, _, _) in enumerate(joined.members)} if leads else {}
        synced = await self._club.group.sync(self._id, self._instance, joined.generation, shares)
        self._forget(synced.code)
        if synced.code is Code.NONE:
            self._club.shares[self._name] = joined.generation, synced.assignment
            await self._beat(joined.generation)

    async def _beat(self, generation: int) -> None:
        while True:
            await asyncio.sleep(0.05)
            self._club.group.heartbeat(self._id, self._instance, generation)
            if self._club.disorder and self._club.chance.random() < 0.02:
                self._club.group.leave(self._id, self._instance)
                self._id = ""
                return

    def _forget(self, code: Code) -> None:
        if code in LOST:
            self._id = ""


@pytest.mark.parametrize("seed", range(2))
def test_a_group_settles_after_any_disorder(seed: int) -> None:
    """Members die and leave at random moments for a while; soon after, all that live share one generation."""

    async def main() -> None:
        groups = Groups(BrokerSettings(initial_rebalance_delay=0.05))
        clubs = [Club(groups.found_or_made(f"g{number}"), random.Random(seed * 100 + number)) for number in range(8)]
        try:
            await asyncio.gather(*map(disturb, clubs))
        finally:
            groups.close()

    asyncio.run(main())


async def disturb(club: Club) -> None:
    """Let members die for two seconds, then wait for peace."""
    loop = asyncio.get_running_loop()
    tasks = {name: loop.create_task(Simulated(name, club).live()) for name in NAMES}
    deadline = loop.time() + 2
    while loop.time() < deadline:
        await asyncio.sleep(club.chance.random() * 0.2)
        name = club.chance.choice(NAMES)
        tasks[name].cancel()
        tasks[name] = loop.create_task(Simulated(name, club).live())
    club.disorder = False
    deadline = loop.time() + 10
    while not club.is_settled():
        assert loop.time() < deadline, (club.group.state, club.shares, list(club.group.members))
        await asyncio.sleep(0.02)
    for task in tasks.values():
        task.cancel()
    ended = await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
