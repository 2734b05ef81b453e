"""The files of ConfigMaps and the empty folders that containers mount, in the run directory."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from headrace.errors import UnavailableError
from headrace.local.commands import mount_folder

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.local.resources import Plan


def write_mounts(plan: Plan, folder: Path) -> None:
    """Write everything that containers of ``plan`` mount below ``folder``, which is emptied first.

    Raises:
        UnavailableError: the disk does not take it.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for name, files in plan.config_maps.items():
            place = folder / name.namespace / "config" / name.name
            place.mkdir(parents=True)
            for file, content in files.items():
                (place / file).write_bytes(content)
        for pod, container in plan.pods:
            for mount in container.mounts:
                if mount.config_map is None:
                    mount_folder(folder, mount, pod.namespace).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UnavailableError(f"Cannot write mounted files to {folder}: {fault.strerror}") from fault
