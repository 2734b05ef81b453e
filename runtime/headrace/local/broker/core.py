"""The parts of a running broker, and what one request brings along: what every request handler is given.

The data folder: ``topics.json`` (the catalogue), ``topics/NAME/N/`` (a partition: segments ``OFFSET.log``, each with
``OFFSET.index``, and ``start`` where its beginning was moved), ``journal`` (committed offsets, producers,
transactions), ``lock``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.local.broker.groups import Groups
from headrace.local.broker.ledger import Ledger
from headrace.local.broker.topics import Catalogue
from headrace.local.broker.transactions import Transactions
from headrace.local.broker.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.local.broker.sasl import Session
    from headrace.local.broker.settings import BrokerSettings

NODE_ID = 1
"""The only broker of its cluster: leader of every partition and coordinator of every group."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where clients find the broker."""

    host: str
    port: int


class Core:
    """Opens everything under a data folder.

    Args:
        data: The folder; the caller holds its lock.
        settings: What the user chose.
        checkpoint: See :class:`Transactions` and :class:`PartitionLog`.

    Raises:
        ConfigurationError: the folder holds a catalogue that cannot be read.
        OSError: the folder cannot be written.
    """

    def __init__(self, data: Path, settings: BrokerSettings, checkpoint: Callable[[str], None]) -> None:
        self.settings = settings
        self.data = data
        self.catalogue = Catalogue(data, settings, checkpoint)
        self.ledger = Ledger(data / "journal", flush=settings.syncs_each)
        self.groups = Groups(settings, self.ledger.starts)
        self.transactions = Transactions(self.catalogue, self.ledger, settings, checkpoint)
        self.upkeep = Upkeep(self.catalogue, self.ledger, settings)
        self.address = Address("", 0)

    async def stop(self) -> None:
        """End the upkeep, then close."""
        await self.upkeep.stop()
        self.close()

    def close(self) -> None:
        """Stop every timer and close every file."""
        self.groups.close()
        self.transactions.close()
        self.catalogue.close()
        self.ledger.close()


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    request: Any
    """Decoded by kafka-python; its attributes are the fields of Kafka's schemas in snake case."""
    version: int
    client_id: str
    client_host: str
    session: Session
