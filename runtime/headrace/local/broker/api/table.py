"""Which requests are served, in which versions, and by whom; and ApiVersions, which tells clients so.

The versions are those that the clients of 2026 choose and that this broker serves in full: no topic ids (KIP-516),
no fetch sessions, no new group protocol (KIP-848).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.local.broker.api import cluster, groups, offsets, records, sasl, storage, topics, transactions
from headrace.local.broker.codes import Code
from headrace.local.broker.messages import admin, consumer, metadata, producer
from headrace.local.broker.messages import sasl as sasl_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.local.broker.core import Call, Core

API_VERSIONS_KEY = 18


@dataclass(frozen=True, slots=True)
class Api:
    """One kind of request."""

    request: Any
    """The codec."""
    lowest: int
    highest: int
    handle: Callable[[Core, Call], Any]
    """Gives the response, an awaitable of it, or None where the client expects none."""


def api_versions(_core: Core, _call: Call) -> Any:
    """The requests and versions served."""
    return versions_response(Code.NONE)


def versions_response(code: Code) -> Any:
    """The answer to ApiVersions; with UNSUPPORTED_VERSION it is sent in version 0, which every client reads."""
    one = metadata.ApiVersionsResponse.ApiVersion
    return metadata.ApiVersionsResponse(
        error_code=code,
        api_keys=[one(api_key=key, min_version=api.lowest, max_version=api.highest) for key, api in APIS.items()],
    )


_SERVED = (
    Api(producer.ProduceRequest, 3, 9, records.produce),
    Api(consumer.FetchRequest, 4, 11, records.fetch),
    Api(consumer.ListOffsetsRequest, 1, 7, records.list_offsets),
    Api(consumer.OffsetForLeaderEpochRequest, 0, 4, records.offset_for_leader_epoch),
    Api(admin.DeleteRecordsRequest, 0, 2, records.delete_records),
    Api(metadata.MetadataRequest, 0, 9, cluster.metadata),
    Api(metadata.FindCoordinatorRequest, 0, 4, cluster.find_coordinator),
    Api(admin.DescribeClusterRequest, 0, 2, cluster.describe_cluster),
    Api(consumer.JoinGroupRequest, 0, 7, groups.join_group),
    Api(consumer.SyncGroupRequest, 0, 5, groups.sync_group),
    Api(consumer.HeartbeatRequest, 0, 4, groups.heartbeat),
    Api(consumer.LeaveGroupRequest, 0, 5, groups.leave_group),
    Api(admin.DescribeGroupsRequest, 0, 5, groups.describe_groups),
    Api(admin.ListGroupsRequest, 0, 4, groups.list_groups),
    Api(admin.DeleteGroupsRequest, 0, 2, groups.delete_groups),
    Api(consumer.OffsetCommitRequest, 2, 8, offsets.offset_commit),
    Api(consumer.OffsetFetchRequest, 1, 8, offsets.offset_fetch),
    Api(consumer.OffsetDeleteRequest, 0, 0, offsets.offset_delete),
    Api(admin.CreateTopicsRequest, 0, 6, topics.create_topics),
    Api(admin.DeleteTopicsRequest, 0, 5, topics.delete_topics),
    Api(admin.CreatePartitionsRequest, 0, 3, topics.create_partitions),
    Api(admin.DescribeConfigsRequest, 0, 4, topics.describe_configs),
    Api(admin.AlterConfigsRequest, 0, 2, topics.alter_configs),
    Api(admin.IncrementalAlterConfigsRequest, 0, 1, topics.incremental_alter_configs),
    Api(producer.InitProducerIdRequest, 0, 4, transactions.init_producer_id),
    Api(producer.AddPartitionsToTxnRequest, 0, 3, transactions.add_partitions),
    Api(producer.AddOffsetsToTxnRequest, 0, 3, transactions.add_offsets),
    Api(producer.TxnOffsetCommitRequest, 0, 3, transactions.txn_offset_commit),
    Api(producer.EndTxnRequest, 0, 3, transactions.end_txn),
    Api(admin.DescribeTransactionsRequest, 0, 0, transactions.describe_transactions),
    Api(admin.ListTransactionsRequest, 0, 0, transactions.list_transactions),
    Api(admin.DescribeLogDirsRequest, 1, 4, storage.describe_log_dirs),
    Api(sasl_messages.SaslHandshakeRequest, 1, 1, sasl.handshake),
    Api(sasl_messages.SaslAuthenticateRequest, 0, 2, sasl.authenticate),
    Api(metadata.ApiVersionsRequest, 0, 3, api_versions),
)
APIS: dict[int, Api] = {api.request.API_KEY: api for api in _SERVED}
"""Every request served, by its key."""
BEFORE_AUTHENTICATION = {
    API_VERSIONS_KEY,
    sasl_messages.SaslHandshakeRequest.API_KEY,
    sasl_messages.SaslAuthenticateRequest.API_KEY,
}
"""The requests that are served before the client has shown who it is."""
