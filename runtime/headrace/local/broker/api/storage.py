"""What lies on the disk: DescribeLogDirs (KIP-113, KIP-827)."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from headrace.local.broker.codes import Code
from headrace.local.broker.messages import admin

if TYPE_CHECKING:
    from headrace.local.broker.core import Call, Core


def describe_log_dirs(core: Core, call: Call) -> Any:
    """The one data folder, with the bytes of each partition asked for, or of all."""
    wanted = call.request.topics
    named = None if wanted is None else {one.topic: set(one.partitions) for one in wanted}
    answer = admin.DescribeLogDirsResponse.DescribeLogDirsResult
    topic_answer = answer.DescribeLogDirsTopic
    partition = topic_answer.DescribeLogDirsPartition
    topics = [
        topic_answer(
            name=topic.name,
            partitions=[
                partition(partition_index=index, partition_size=log.size, offset_lag=0, is_future_key=False)
                for index, log in enumerate(topic.partitions)
                if named is None or index in named[topic.name]
            ],
        )
        for topic in core.catalogue
        if named is None or topic.name in named
    ]
    disk = shutil.disk_usage(core.data)
    folder = answer(
        error_code=Code.NONE,
        log_dir=str(core.data.resolve()),
        topics=topics,
        total_bytes=disk.total,
        usable_bytes=disk.free,
    )
    return admin.DescribeLogDirsResponse(error_code=Code.NONE, results=[folder])
