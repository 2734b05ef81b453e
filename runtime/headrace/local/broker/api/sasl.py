"""Who asks: SaslHandshake and SaslAuthenticate (KIP-152)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.messages import sasl

if TYPE_CHECKING:
    from headrace.local.broker.core import Call, Core


def handshake(_core: Core, call: Call) -> Any:
    """Choose a mechanism; all that are offered are named in any case."""
    code = Code.NONE
    try:
        call.session.begin(call.request.mechanism)
    except Refusal as refusal:
        code = refusal.code
    return sasl.SaslHandshakeResponse(error_code=code, mechanisms=call.session.mechanisms)


def authenticate(_core: Core, call: Call) -> Any:
    """Take a message of the mechanism."""
    try:
        answer = call.session.authenticate(bytes(call.request.auth_bytes))
    except Refusal as refusal:
        return sasl.SaslAuthenticateResponse(error_code=refusal.code, error_message=refusal.message, auth_bytes=b"")
    # No lifetime: who has authenticated once need not do so again.
    return sasl.SaslAuthenticateResponse(
        error_code=Code.NONE, error_message=None, auth_bytes=answer, session_lifetime_ms=0
    )
