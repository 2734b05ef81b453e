"""Where fetched models are kept, and how much room they may take."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = "HEADRACE_MODEL_CACHE"
SIZE = "HEADRACE_MODEL_CACHE_SIZE"
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]i?)?B?\Z")
_UNITS = {"": 1, **{f"{letter}i": 1024**power for power, letter in enumerate("KMGT", start=1)}}
_UNITS |= {letter: 1000**power for power, letter in enumerate("kMGT", start=1)}


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The cache of one machine."""

    folder: Path
    limit: int = 0
    """Bytes of all models together, beyond which those go that have not been used for longest; 0 sets no bound."""


def cache_settings(environment: Mapping[str, str] = os.environ) -> CacheSettings:
    """What the environment says: ``HEADRACE_MODEL_CACHE``, else ``headrace/models`` among the user's caches.

    Raises:
        ConfigurationError: ``HEADRACE_MODEL_CACHE_SIZE`` is no amount.
    """
    named = environment.get(FOLDER)
    if named:
        folder = Path(named)
    else:
        home = Path(environment.get("HOME") or Path.home())
        folder = Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "headrace" / "models"
    return CacheSettings(folder.absolute(), parse_amount(SIZE, environment.get(SIZE, "0")))


def parse_amount(name: str, text: str) -> int:
    """Bytes of ``20Gi``, ``500M`` or ``1000000``.

    Raises:
        ConfigurationError: naming what is no amount.
    """
    found = _AMOUNT.match(text.strip())
    if found is None:
        raise ConfigurationError(f"{name} {text!r} is no amount of bytes", hint="write 500Mi, 20Gi or a number")
    return int(float(found[1]) * _UNITS[found[2] or ""])
