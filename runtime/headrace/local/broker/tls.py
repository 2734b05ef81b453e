"""TLS on the listener, from PEM files."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.local.broker.settings import TlsSettings


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """The context of a listener.

    Raises:
        ConfigurationError: a file is missing, is not PEM, or certificate and key do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without this answer, OpenSSL asks the terminal for a key's password.
        context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
    except (OSError, ValueError) as fault:
        raise ConfigurationError(
            f"The broker's certificate {settings.certificate} and key {settings.key} cannot be used: {fault}",
            hint="name two PEM files that belong together, the key without a password",
        ) from fault
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(settings.client_ca)
        except (OSError, ValueError) as fault:
            raise ConfigurationError(
                f"The authorities of clients in {settings.client_ca} cannot be used: {fault}",
                hint="name a PEM file with their certificates",
            ) from fault
        context.verify_mode = ssl.CERT_REQUIRED
    return context
