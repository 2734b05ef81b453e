"""kafka-python's connections, taught to end a first one at once where a broker, or a token's giver, refuses it.

kafka-python 3.0 takes every failure of a first connection for one that passes, tries on until its time is over, and
then says no more than that it is. It has a place for a refusal that is final, which nothing fills: this does.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FINAL = (
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    errors.AuthorizationError,
)
MOST_HUNG_UP = 3
"""Logins on which the broker hung up before that counts as a refusal, and not as a broker that goes down."""
_TLS_FINAL = ("CERTIFICATE_VERIFY_FAILED", "_ALERT_")
"""In OpenSSL's words: the broker's certificate is not trusted, or it says why it does not go on."""


class Client(KafkaNetClient):
    """What consumers, producers and administration take as ``kafka_client``."""

    def __init__(self, **config: Any) -> None:
        net = NetworkSelector(**config)
        super().__init__(net=net, manager=_Connections(net, **config))


class _Connections(KafkaConnectionManager):
    def __init__(self, net: Any, **config: Any) -> None:
        super().__init__(net, **config)
        self._refusals: dict[Any, Exception] = {}
        self._hung_up = 0

    def maybe_raise_auth_failure(self, node_id: Any) -> None:
        """Called before each connection."""
        if node_id in self._refusals:
            raise self._refusals[node_id]
        super().maybe_raise_auth_failure(node_id)

    async def _connect(self, node: Any, conn: Any, *args: Any, **options: Any) -> None:
        # Later ones may be refused for a while (a password that changes broker by broker): those are tried again.
        if not self.bootstrapped:
            conn.init_future.add_errback(partial(self._note, node.node_id))
            conn._sasl_authenticate = partial(self._log_in, node.node_id, conn._sasl_authenticate)  # noqa: SLF001  # has no hook
        await super()._connect(node, conn, *args, **options)

    async def _log_in(self, node_id: Any, log_in: Callable[..., Awaitable[None]], *args: Any, **options: Any) -> None:
        # Not by the connection's outcome alone: a broker hangs up after its refusal, and that may be noted before it.
        try:
            await log_in(*args, **options)
        except errors.KafkaConnectionError:
            # kafka-python drops an answer when the broker hangs up right behind it, as it does behind a refusal.
            self._hung_up += 1
            if self._hung_up >= MOST_HUNG_UP:
                self._note(node_id, errors.SaslAuthenticationFailedError("the broker hangs up on the login"))
            raise
        except Exception as fault:
            self._note(node_id, fault)
            raise

    def _note(self, node_id: Any, fault: Exception) -> None:
        if _is_final(fault):
            self._refusals[node_id] = fault


def _is_final(fault: Exception) -> bool:
    if isinstance(fault, HeadraceError):
        return not fault.retriable
    return isinstance(fault, _FINAL) or any(word in str(fault) for word in _TLS_FINAL)
