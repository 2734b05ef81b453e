"""Who is there: Metadata, FindCoordinator, DescribeCluster. ApiVersions belongs to ``table``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.core import NODE_ID
from headrace.local.broker.messages import admin
from headrace.local.broker.messages import metadata as messages

if TYPE_CHECKING:
    from headrace.local.broker.core import Call, Core
    from headrace.local.broker.topics import Topic

_BATCHED_COORDINATORS = 4
_AUTO_CREATION_ASKED = 4


def metadata(core: Core, call: Call) -> Any:
    """The broker and the topics; a topic that is named and missing is made where settings and client allow it."""
    wanted = call.request.topics
    if wanted is None or (call.version == 0 and not wanted):
        topics = [_described(topic.name, topic) for topic in core.catalogue]
    else:
        create = call.version < _AUTO_CREATION_ASKED or call.request.allow_auto_topic_creation
        topics = [_named(core, one.name, create=create) for one in wanted]
    broker = messages.MetadataResponse.MetadataResponseBroker(
        node_id=NODE_ID, host=core.address.host, port=core.address.port, rack=None
    )
    return messages.MetadataResponse(
        brokers=[broker],
        cluster_id=core.catalogue.cluster_id,
        controller_id=NODE_ID,
        topics=topics,
        authorized_operations=set(),
    )


def _named(core: Core, name: str, *, create: bool) -> Any:
    try:
        topic = core.catalogue.found_or_created(name) if create else core.catalogue.get(name)
    except Refusal as refusal:
        return _described(name, None, refusal.code)
    return _described(name, topic)


def _described(name: str, topic: Topic | None, code: Code = Code.UNKNOWN_TOPIC_OR_PARTITION) -> Any:
    answer = messages.MetadataResponse.MetadataResponseTopic
    partition = answer.MetadataResponsePartition
    return answer(
        error_code=code if topic is None else Code.NONE,
        name=name,
        is_internal=False,
        partitions=[
            partition(
                error_code=Code.NONE,
                partition_index=index,
                leader_id=NODE_ID,
                leader_epoch=0,
                replica_nodes=[NODE_ID],
                isr_nodes=[NODE_ID],
                offline_replicas=[],
            )
            for index in range(len(topic.partitions) if topic is not None else 0)
        ],
        authorized_operations=set(),
    )


def find_coordinator(core: Core, call: Call) -> Any:
    """This broker, for every group and every transactional id."""
    place = {"node_id": NODE_ID, "host": core.address.host, "port": core.address.port}
    if call.version >= _BATCHED_COORDINATORS:
        answer = messages.FindCoordinatorResponse.Coordinator
        return messages.FindCoordinatorResponse(
            coordinators=[
                answer(key=key, error_code=Code.NONE, error_message=None, **place)
                for key in call.request.coordinator_keys
            ]
        )
    return messages.FindCoordinatorResponse(error_code=Code.NONE, error_message=None, **place)


def describe_cluster(core: Core, _call: Call) -> Any:
    """The one broker."""
    broker = admin.DescribeClusterResponse.DescribeClusterBroker(
        broker_id=NODE_ID, host=core.address.host, port=core.address.port, rack=None, is_fenced=False
    )
    return admin.DescribeClusterResponse(
        error_code=Code.NONE,
        error_message=None,
        cluster_id=core.catalogue.cluster_id,
        controller_id=NODE_ID,
        brokers=[broker],
        authorized_operations=set(),
    )
