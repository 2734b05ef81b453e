"""Topics: create, delete, grow, configs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.local.broker import configs
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.core import NODE_ID
from headrace.local.broker.messages import admin

if TYPE_CHECKING:
    from headrace.local.broker.core import Call, Core
    from headrace.local.broker.topics import Topic

_TOPIC, _BROKER = 2, 4
_SET, _DELETE, _APPEND, _SUBTRACT = range(4)
_FROM_TOPIC, _FROM_DEFAULT = 1, 5
_STRING = 2


def create_topics(core: Core, call: Call) -> Any:
    """Make topics; one replica is all that there can be."""
    return admin.CreateTopicsResponse(topics=[_created(core, call, one) for one in call.request.topics])


def _created(core: Core, call: Call, wanted: Any) -> Any:
    answer = admin.CreateTopicsResponse.CreatableTopicResult
    try:
        partitions = _partitions(core, wanted)
        chosen = {one.name: one.value for one in wanted.configs if one.value is not None}
        if call.request.validate_only:
            core.catalogue.check_new(wanted.name, partitions, chosen)
        else:
            core.catalogue.create(wanted.name, partitions, chosen)
    except Refusal as refusal:
        return answer(name=wanted.name, error_code=refusal.code, error_message=refusal.message, configs=[])
    return answer(
        name=wanted.name,
        error_code=Code.NONE,
        error_message=None,
        num_partitions=partitions,
        replication_factor=1,
        configs=[],
    )


def _partitions(core: Core, wanted: Any) -> int:
    if wanted.assignments:
        if any(list(one.broker_ids) != [NODE_ID] for one in wanted.assignments):
            raise Refusal(Code.INVALID_REPLICA_ASSIGNMENT, f"Broker {NODE_ID} is the only one")
        return len(wanted.assignments)
    if wanted.replication_factor not in {-1, 1}:
        raise Refusal(
            Code.INVALID_REPLICATION_FACTOR,
            f"The embedded broker is alone: replication factor 1, not {wanted.replication_factor}",
        )
    return core.settings.default_partitions if wanted.num_partitions == -1 else int(wanted.num_partitions)


def delete_topics(core: Core, call: Call) -> Any:
    """Remove topics, their records, and the groups' offsets in them."""

    def deleted(name: str) -> Any:
        answer = admin.DeleteTopicsResponse.DeletableTopicResult
        try:
            core.catalogue.delete(name)
            core.ledger.forget_topic(name)
        except Refusal as refusal:
            return answer(name=name, error_code=refusal.code, error_message=refusal.message)
        return answer(name=name, error_code=Code.NONE, error_message=None)

    return admin.DeleteTopicsResponse(responses=[deleted(name) for name in call.request.topic_names])


def create_partitions(core: Core, call: Call) -> Any:
    """Give topics more partitions."""

    def grown(wanted: Any) -> Any:
        answer = admin.CreatePartitionsResponse.CreatePartitionsTopicResult
        try:
            core.catalogue.grow(wanted.name, wanted.count, dry=call.request.validate_only)
        except Refusal as refusal:
            return answer(name=wanted.name, error_code=refusal.code, error_message=refusal.message)
        return answer(name=wanted.name, error_code=Code.NONE, error_message=None)

    return admin.CreatePartitionsResponse(results=[grown(one) for one in call.request.topics])


def describe_configs(core: Core, call: Call) -> Any:
    """Every config of topics, and what of the broker's own has a Kafka name."""
    return admin.DescribeConfigsResponse(results=[_described(core, one) for one in call.request.resources])


def _described(core: Core, wanted: Any) -> Any:
    answer = admin.DescribeConfigsResponse.DescribeConfigsResult
    place = {"resource_type": wanted.resource_type, "resource_name": wanted.resource_name}
    try:
        given, chosen = _values(core, wanted)
    except Refusal as refusal:
        return answer(error_code=refusal.code, error_message=refusal.message, configs=[], **place)
    keys = wanted.configuration_keys
    entry = answer.DescribeConfigsResourceResult
    entries = [
        entry(
            name=name,
            value=value,
            read_only=wanted.resource_type == _BROKER,
            is_default=name not in chosen,
            config_source=_FROM_TOPIC if name in chosen else _FROM_DEFAULT,
            is_sensitive=False,
            synonyms=[],
            config_type=_STRING,
            documentation=None,
        )
        for name, value in sorted((given | chosen).items())
        if keys is None or name in keys
    ]
    return answer(error_code=Code.NONE, error_message=None, configs=entries, **place)


def _values(core: Core, wanted: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Defaults, and what was set."""
    settings = core.settings
    defaults = configs.defaults(settings.broker_defaults)
    if wanted.resource_type == _BROKER:
        return {
            "auto.create.topics.enable": str(settings.auto_create_topics).lower(),
            "num.partitions": str(settings.default_partitions),
            "message.max.bytes": str(settings.max_message_bytes),
            "socket.request.max.bytes": str(settings.max_request_bytes),
            "log.retention.check.interval.ms": str(round(settings.retention_check_interval * 1000)),
            "log.segment.bytes": defaults["segment.bytes"],
            "log.retention.ms": defaults["retention.ms"],
            "log.retention.bytes": defaults["retention.bytes"],
            "log.cleanup.policy": defaults["cleanup.policy"],
            "transaction.max.timeout.ms": str(settings.max_transaction_timeout),
            "group.min.session.timeout.ms": str(settings.min_session_timeout),
            "group.max.session.timeout.ms": str(settings.max_session_timeout),
        }, {}
    return defaults, _topic(core, wanted).configs


def _topic(core: Core, wanted: Any) -> Topic:
    if wanted.resource_type != _TOPIC:
        raise Refusal(Code.INVALID_REQUEST, "Only topics have configs that can be set")
    topic = core.catalogue.get(wanted.resource_name)
    if topic is None:
        raise Refusal(Code.UNKNOWN_TOPIC_OR_PARTITION, f"There is no topic '{wanted.resource_name}'")
    return topic


def alter_configs(core: Core, call: Call) -> Any:
    """Replace the configs of topics by those given."""

    def chosen(wanted: Any) -> dict[str, str]:
        return {one.name: one.value for one in wanted.configs if one.value is not None}

    return admin.AlterConfigsResponse(
        responses=[_altered(core, call, admin.AlterConfigsResponse, one, chosen) for one in call.request.resources]
    )


def incremental_alter_configs(core: Core, call: Call) -> Any:
    """Set and unset single configs of topics, and add to lists or take from them."""

    def chosen(wanted: Any) -> dict[str, str]:
        result = dict(_topic(core, wanted).configs)
        for one in wanted.configs:
            if one.config_operation == _SET and one.value is not None:
                result[one.name] = one.value
            elif one.config_operation == _DELETE:
                result.pop(one.name, None)
            elif one.config_operation in {_APPEND, _SUBTRACT} and one.value is not None:
                present = result.get(one.name, configs.defaults(core.settings.broker_defaults).get(one.name, ""))
                subtract = one.config_operation == _SUBTRACT
                result[one.name] = configs.appended(one.name, present, one.value, subtract=subtract)
            else:
                raise Refusal(Code.INVALID_REQUEST, "Configs are set, deleted, appended to or subtracted from")
        return result

    return admin.IncrementalAlterConfigsResponse(
        responses=[
            _altered(core, call, admin.IncrementalAlterConfigsResponse, one, chosen) for one in call.request.resources
        ]
    )


def _altered(core: Core, call: Call, response: Any, wanted: Any, chosen: Any) -> Any:
    answer = response.AlterConfigsResourceResponse
    place = {"resource_type": wanted.resource_type, "resource_name": wanted.resource_name}
    try:
        _topic(core, wanted)
        core.catalogue.configure(wanted.resource_name, chosen(wanted), dry=call.request.validate_only)
    except Refusal as refusal:
        return answer(error_code=refusal.code, error_message=refusal.message, **place)
    return answer(error_code=Code.NONE, error_message=None, **place)
