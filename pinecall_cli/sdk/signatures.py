"""Whether what reaches an application's own webhook comes from whom it says."""

from __future__ import annotations

from pinecall_cli.errors import UsageError
from pinecall_cli.protocol.whatsapp import signature_matches


def verify_whatsapp_signature(body: bytes, header: str | None, secret: str) -> bool:
    """Return whether a notification of WhatsApp's is Meta's own, in constant time.

    Args:
        body: The request's body, byte for byte as it came: not parsed and written again.
        header: Its ``X-Hub-Signature-256``; None where there was none, which is False.
        secret: The app secret, as the channel's ``app_secret``.

    Raises:
        UsageError: If the secret is empty: everybody could sign with that.

    Example:
        ``if not verify_whatsapp_signature(body, headers.get("x-hub-signature-256"), secret):``
        answer with 401.
    """
    if not secret:
        raise UsageError("the app secret is empty", fix="set it; Meta shows it as `App secret`")
    return header is not None and signature_matches(body, header, secret)
