"""Fields of known kinds that do nothing on one machine, each with what is done instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.local.place import Place

_ONE_NODE = "this machine is the only node"
_AS_YOU = "processes run as you, with your rights"
_NO_IMAGE = "no image is pulled: the command runs in this Python environment"
OF_A_POD = {
    "initContainers": "they are not run; what they fetch must be here already",
    "nodeSelector": _ONE_NODE,
    "nodeName": _ONE_NODE,
    "tolerations": _ONE_NODE,
    "affinity": _ONE_NODE,
    "topologySpreadConstraints": _ONE_NODE,
    "schedulerName": _ONE_NODE,
    "priorityClassName": _ONE_NODE,
    "runtimeClassName": _AS_YOU,
    "securityContext": _AS_YOU,
    "serviceAccountName": _AS_YOU,
    "hostNetwork": "processes share this machine's network anyway",
    "hostIPC": _AS_YOU,
    "hostPID": _AS_YOU,
    "hostAliases": "names resolve as on this machine",
    "dnsPolicy": "names resolve as on this machine",
    "dnsConfig": "names resolve as on this machine",
    "imagePullSecrets": _NO_IMAGE,
}
OF_A_CONTAINER = {
    "imagePullPolicy": _NO_IMAGE,
    "securityContext": _AS_YOU,
    "lifecycle": "hooks are not run; SIGTERM comes as in a cluster",
    "stdin": "standard input is empty",
    "tty": "standard input is empty",
    "volumeDevices": "there are no block devices",
    "terminationMessagePath": "the last line that it wrote is its message",
}
OF_A_SERVICE = {
    "autoScaling": "scaled by concurrency or requests a second, as the annotations say",
    "deploymentStrategy": "replicas are replaced one after the other",
    "logger": "requests are not logged",
    "batcher": "requests are not batched by an agent; the model server may",
    "workerSpec": "one process is one replica",
    "storageUris": "nothing is fetched; the path must be on this machine",
}
OF_A_DEPLOYMENT = {
    "strategy": "the process is replaced at once",
    "minReadySeconds": "it counts as soon as it runs",
    "revisionHistoryLimit": "there is no history",
    "progressDeadlineSeconds": "it is started again and again, with a growing pause",
}


def note(place: Place, fields: dict[str, str], ignored: list[str]) -> None:
    """Name those of ``fields`` that stand at ``place``."""
    ignored += [f"{place.at(name).path}: {instead}" for name, instead in fields.items() if name in place.value]
