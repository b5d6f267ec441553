"""Webhook endpoints of a shop, as the tests of the books make and judge them."""

from datetime import timedelta
from typing import Any

from db.endpoints import Asker, EndpointDetail, new_endpoint_id
from domain.event import AttemptOutcome, Endpoint
from domain.invoice import DeliveryRef, State
from tests.db.books import Shop

DAY = timedelta(hours=24)
URL = "https://shop.example/hook?token=HUSH"


def asker(shop: Shop, *, sandbox_only: bool = False) -> Asker:
    return Asker(merchant_id=shop.id, key_id="key_1", sandbox_only=sandbox_only, request_id="req_7")


async def made(shop: Shop, *, sandbox: bool = False, **fields: Any) -> Endpoint:
    given: dict[str, Any] = {
        "url": URL,
        "events": ["*"],
        "sealed": b"first",
        "asked_by": "key_1",
        "is_sandbox": sandbox,
    }
    return await shop.books.endpoints.add(shop.id, new_endpoint_id(), **(given | fields))


async def rotated(shop: Shop, endpoint_id: str, sealed: bytes, overlap: timedelta = DAY) -> EndpointDetail:
    detail = await shop.books.endpoints.rotate(asker(shop), endpoint_id, sealed=sealed, overlap=overlap, most=10)
    assert detail is not None
    return detail


async def due(shop: Shop, endpoint_id: str) -> DeliveryRef:
    """A delivery to the endpoint that nobody has tried."""
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    return next(one for one in booked.deliveries if one.endpoint_id == endpoint_id)


async def signed_by(shop: Shop, ref: DeliveryRef) -> list[bytes]:
    found = await shop.books.deliveries.due(shop.id, ref.id)
    assert found is not None
    return found.secrets_sealed


async def ill(shop: Shop, endpoint_id: str) -> None:
    """Makes the endpoint fail in the only way there is: a delivery that did not arrive."""
    ref = await due(shop, endpoint_id)
    outcome = AttemptOutcome(
        delivered=False, status=500, error="http_status", latency_ms=5, excerpt="", dead=True, wait=None
    )
    await shop.books.attempted(shop.id, ref.id, outcome, disable_after=1e6)
    await shop.books.do(
        "update webhook_endpoints set failing_seconds = 6e5, failing_percent = 60 where id = :id", id=endpoint_id
    )


async def acts(shop: Shop, endpoint_id: str) -> list[dict[str, Any]]:
    return await shop.books.fetch("select * from audit_log where object_id = :id order by position", id=endpoint_id)
