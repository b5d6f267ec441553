"""Every public contract behind the one face that the books know."""

from contracts.apipay import ApiPay
from contracts.v1 import V1
from domain.event import Dialect
from domain.invoice import Invoice
from domain.refund import Refund
from domain.rendering import Event
from domain.subscription_record import Subscription


class Contracts:
    """The `Renderer` of the books for one public address."""

    def __init__(self, public_url: str) -> None:
        self.v1 = V1(public_url)
        self.apipay = ApiPay()

    def creation_answer(self, invoice: Invoice, request_id: str) -> tuple[int, bytes]:
        """Of v1."""
        return self.v1.creation_answer(invoice, request_id)

    def refund_answer(self, refund: Refund, request_id: str) -> tuple[int, bytes]:
        """Of v1."""
        return self.v1.refund_answer(refund, request_id)

    def subscription_answer(self, subscription: Subscription, request_id: str) -> bytes:
        """Of v1."""
        return self.v1.subscription_answer(subscription, request_id)

    def tells(self, event: Event, dialect: Dialect) -> bool:
        """What ApiPay would not say, its endpoints are not told; ours are told everything."""
        return dialect is not Dialect.APIPAY or self.apipay.tells(event)

    def webhook(self, event: Event, endpoint_id: str, dialect: Dialect) -> bytes:
        """The bytes that are stored, signed and sent."""
        match dialect:
            case Dialect.V1:
                return self.v1.webhook(event, endpoint_id)
            case Dialect.APIPAY:
                return self.apipay.webhook(event)
