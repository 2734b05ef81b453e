"""Membership of consumer groups, and their administration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.groups import Group, State
from headrace.local.broker.members import Joined, Joining, Synced
from headrace.local.broker.messages import admin, consumer

if TYPE_CHECKING:
    from headrace.local.broker.core import Call, Core

_ID_FIRST = 4
_BATCHED_LEAVE = 3
_NO_GENERATION = -1


async def join_group(core: Core, call: Call) -> Any:
    """Join, wait for the others."""
    request = call.request
    timeout = request.rebalance_timeout_ms if request.rebalance_timeout_ms > 0 else request.session_timeout_ms
    joining = Joining(
        member_id=request.member_id,
        instance_id=request.group_instance_id,
        client_id=call.client_id,
        client_host=call.client_host,
        session_timeout=request.session_timeout_ms,
        rebalance_timeout=timeout,
        protocol_type=request.protocol_type,
        protocols={one.name: bytes(one.metadata) for one in request.protocols},
        needs_id_first=call.version >= _ID_FIRST,
    )
    try:
        joined = await core.groups.found_or_made(request.group_id).join(joining)
    except Refusal as refusal:
        joined = Joined(request.member_id, refusal.code)
    member = consumer.JoinGroupResponse.JoinGroupResponseMember
    return consumer.JoinGroupResponse(
        error_code=joined.code,
        generation_id=joined.generation,
        protocol_type=joined.protocol_type or None,
        protocol_name=joined.protocol,
        leader=joined.leader,
        member_id=joined.member_id,
        members=[
            member(member_id=one, group_instance_id=instance, metadata=metadata)
            for one, instance, metadata in joined.members
        ],
    )


async def sync_group(core: Core, call: Call) -> Any:
    """Hand in and receive assignments."""
    request = call.request
    try:
        synced = await _group(core, request.group_id).sync(
            request.member_id,
            request.group_instance_id,
            request.generation_id,
            {one.member_id: bytes(one.assignment) for one in request.assignments},
        )
    except Refusal as refusal:
        synced = Synced(refusal.code)
    return consumer.SyncGroupResponse(
        error_code=synced.code,
        protocol_type=synced.protocol_type or None,
        protocol_name=synced.protocol or None,
        assignment=synced.assignment,
    )


def heartbeat(core: Core, call: Call) -> Any:
    """Keep a member alive."""
    request = call.request
    try:
        _group(core, request.group_id).heartbeat(request.member_id, request.group_instance_id, request.generation_id)
    except Refusal as refusal:
        return consumer.HeartbeatResponse(error_code=refusal.code)
    return consumer.HeartbeatResponse(error_code=Code.NONE)


def leave_group(core: Core, call: Call) -> Any:
    """Take members out."""
    request = call.request
    if call.version < _BATCHED_LEAVE:
        return consumer.LeaveGroupResponse(error_code=_left(core, request.group_id, request.member_id, None))
    answer = consumer.LeaveGroupResponse.MemberResponse
    return consumer.LeaveGroupResponse(
        error_code=Code.NONE,
        members=[
            answer(
                member_id=one.member_id,
                group_instance_id=one.group_instance_id,
                error_code=_left(core, request.group_id, one.member_id, one.group_instance_id),
            )
            for one in request.members
        ],
    )


def _left(core: Core, group_id: str, member_id: str, instance_id: str | None) -> Code:
    try:
        _group(core, group_id).leave(member_id, instance_id)
    except Refusal as refusal:
        return refusal.code
    return Code.NONE


def _group(core: Core, group_id: str) -> Group:
    group = core.groups.get(group_id)
    if group is None:
        raise Refusal(Code.UNKNOWN_MEMBER_ID)
    return group


def list_groups(core: Core, call: Call) -> Any:
    """Groups that have members or offsets."""
    states = dict.fromkeys(core.ledger.offsets, State.EMPTY.value)
    kinds: dict[str, str] = {}
    for group in core.groups:
        if group.members or group.id in states:
            states[group.id] = group.state.value
            kinds[group.id] = group.protocol_type
    wanted = {one.lower() for one in call.request.states_filter or ()}
    answer = admin.ListGroupsResponse.ListedGroup
    return admin.ListGroupsResponse(
        error_code=Code.NONE,
        groups=[
            answer(group_id=group_id, protocol_type=kinds.get(group_id, "consumer"), group_state=state)
            for group_id, state in states.items()
            if not wanted or state.lower() in wanted
        ],
    )


def describe_groups(core: Core, call: Call) -> Any:
    """State and members of groups; one that nobody knows is Dead, as in Kafka."""
    return admin.DescribeGroupsResponse(groups=[_described(core, group_id) for group_id in call.request.groups])


def _described(core: Core, group_id: str) -> Any:
    answer = admin.DescribeGroupsResponse.DescribedGroup
    group = core.groups.get(group_id)
    if group is None or not (group.members or group_id in core.ledger.offsets):
        state = State.EMPTY.value if group_id in core.ledger.offsets else "Dead"
        return answer(
            error_code=Code.NONE,
            group_id=group_id,
            group_state=state,
            protocol_type="consumer" if group_id in core.ledger.offsets else "",
            protocol_data="",
            members=[],
            authorized_operations=set(),
        )
    return answer(
        error_code=Code.NONE,
        group_id=group_id,
        group_state=group.state.value,
        protocol_type=group.protocol_type,
        protocol_data=group.protocol,
        members=[_described_member(group, member_id) for member_id in group.members],
        authorized_operations=set(),
    )


def _described_member(group: Group, member_id: str) -> Any:
    member = group.members[member_id]
    return admin.DescribeGroupsResponse.DescribedGroup.DescribedGroupMember(
        member_id=member.id,
        group_instance_id=member.joining.instance_id,
        client_id=member.joining.client_id,
        client_host=member.joining.client_host,
        member_metadata=member.metadata.get(group.protocol, b""),
        member_assignment=member.assignment,
    )


def delete_groups(core: Core, call: Call) -> Any:
    """Remove groups without members, and their offsets."""

    def deleted(group_id: str) -> Any:
        answer = admin.DeleteGroupsResponse.DeletableGroupResult
        if core.groups.get(group_id) is None and group_id not in core.ledger.offsets:
            return answer(group_id=group_id, error_code=Code.GROUP_ID_NOT_FOUND)
        code = Code.NONE
        try:
            core.groups.delete(group_id)
            core.ledger.forget_offsets(group_id, tuple(core.ledger.offsets.get(group_id, ())))
        except Refusal as refusal:
            code = refusal.code
        return answer(group_id=group_id, error_code=code)

    return admin.DeleteGroupsResponse(results=[deleted(group_id) for group_id in call.request.groups_names])
