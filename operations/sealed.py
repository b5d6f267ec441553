"""What is sealed at rest and opened at the last moment: bank credentials, and the secrets that sign webhooks."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from db.registry import MerchantRecords
from domain.event import DueDelivery
from domain.merchant import Connection, ConnectionSecrets
from kaspi.errors import KaspiMisconfigured
from operations.connections import open_connection
from runtime.secrets import SealBox, SealBroken
from webhooks.attempt import Attempt
from webhooks.errors import FailureCode
from webhooks.sender import Sender
from webhooks.signing import sign

log = structlog.get_logger(__name__)


def connection_loader(
    records: MerchantRecords, box: SealBox
) -> Callable[[str, str], Coroutine[Any, Any, tuple[Connection, ConnectionSecrets] | None]]:
    """Loads a link with its opened credentials; `KaspiMisconfigured` where they cannot be opened."""

    async def load(merchant_id: str, connection_id: str) -> tuple[Connection, ConnectionSecrets] | None:
        found = await records.sealed_connection(merchant_id, connection_id)
        try:
            return None if found is None else open_connection(box, *found)
        except SealBroken as error:
            raise KaspiMisconfigured("config", "sealed_secrets_unreadable") from error

    return load


def _utc_now() -> datetime:
    return datetime.now(UTC)


def poster(
    sender: Sender, box: SealBox, now: Callable[[], datetime] = _utc_now
) -> Callable[..., Coroutine[Any, Any, Attempt]]:
    """Opens an endpoint's secrets for one attempt, signs with all of them, and sends."""

    async def post(due: DueDelivery) -> Attempt:
        try:
            headers = _signed(box, due, now())
        except (SealBroken, ValueError):
            log.exception("webhook_not_signed", endpoint=due.endpoint_id)
            return Attempt(
                delivered=False,
                status=None,
                error=FailureCode.SIGNING_FAILED,
                latency_ms=0,
                response_excerpt="",
                retry_after=None,
            )
        return await sender.send(due.url, headers, due.body, is_sandbox=due.is_sandbox)

    return post


def _signed(box: SealBox, due: DueDelivery, now: datetime) -> dict[str, str]:
    bound = f"endpoint:{due.endpoint_id}"
    secrets = [box.open(sealed, bound).decode() for sealed in due.secrets_sealed]
    key = None if due.signing_key_sealed is None else box.open(due.signing_key_sealed, bound).decode()
    return sign(secrets, due.event_id, now, due.body, signing_key=key)
