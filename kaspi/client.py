"""The bank's calls as methods. Amounts are integer tiyn, phones ``7XXXXXXXXXX``, payment ids the bank's Int64."""

import re
import ssl
import time
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from domain.bank import Scheme
from kaspi import reading, wire
from kaspi.amounts import amount_to_wire
from kaspi.codes import Call
from kaspi.config import KaspiConfig
from kaspi.errors import KaspiNotFound, KaspiRefused, KaspiUnavailable
from kaspi.results import LinkCreated, PaymentDetails, PaymentStatus, QrCreated, TradePoint
from kaspi.tls import tls_context
from kaspi.transport import Reader, Transport

__all__ = ["KaspiClient", "KaspiConfig", "Scheme", "tls_context"]

T = TypeVar("T")

# How a bank without the v02 call may say so (§1: v02 is proven for r2 and r3 only).
_NO_SUCH_CALL = frozenset({"http_400", "http_404", "http_405"})
_ODD_ANSWER = frozenset({"unreadable_answer", "empty_answer"})
_REMEMBER_V01 = 3600.0  # seconds; not for ever, because only v02 tells the amount


class KaspiClient:
    """One organisation's line to the bank. Every method is one HTTP request, never repeated by itself (but see
    `payment_status`, which may ask both versions of a harmless call).

    Raises `KaspiMisconfigured` at once for a config that cannot work, and from each method the tree in
    `kaspi.errors`. Arguments that cannot be sent are `KaspiRefused` before any I/O. A cancelled task does not
    know its outcome: treat a cancelled money call as unknown.

    At most `config.max_connections` calls run at once, the rest wait `connect_timeout` for a free connection:
    httpx slows down with many requests in flight, so who needs more makes several clients. Give them one
    `tls_context(config)`; a client is then cheap (no I/O, well under a millisecond).
    """

    def __init__(self, config: KaspiConfig, *, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = config.scheme
        # r1 and r2 name their organisation by key or certificate, not in the calls (§1).
        self._bin = config.organization_bin if config.scheme is Scheme.R3 else None
        self._transport = Transport(config, tls or tls_context(config))
        self._v01_until = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._transport.aclose()

    async def ping(self) -> None:
        """Is the bank there, and does it know our key or certificate? (§2.5)."""
        await self._transport.get(Call.PING, "health/ping", reading.nothing)

    async def tradepoints(self) -> list[TradePoint]:
        """The organisation's trade points (§2.1)."""
        path = f"partner/tradepoints/{self._bin}" if self._bin else "partner/tradepoints"
        return await self._transport.get(Call.TRADEPOINTS, path, reading.trade_points)

    async def register_device(self, device_id: str, trade_point_id: int) -> str:
        """The device token; the same arguments give the same token (§2.1). `device_id`: Latin letters, digits,
        ``-`` and ``_``.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]+", device_id):
            raise KaspiRefused(Call.DEVICE_REGISTER, "bad_device_id")
        body = wire.RegisterDevice(device_id=device_id, trade_point_id=trade_point_id, organization_bin=self._bin)
        return await self._post(Call.DEVICE_REGISTER, body, reading.device_token)

    async def delete_device(self, device_token: str) -> None:
        """Done also where the device was gone before (§2.1, §4: -1501)."""
        body = wire.DeleteDevice(device_token=device_token, organization_bin=self._bin)
        await self._post(Call.DEVICE_DELETE, body, reading.nothing)

    async def create_qr(self, device_token: str, amount: int, external_id: str | None = None) -> QrCreated:
        """A purchase with the QR to show (§2.2). Safe to repeat after a lost answer: nobody saw that token."""
        body = self._purchase(Call.QR_CREATE, device_token, amount, external_id)
        return await self._post(Call.QR_CREATE, body, reading.qr_created)

    async def create_link(self, device_token: str, amount: int, external_id: str | None = None) -> LinkCreated:
        """A purchase with a link that opens the Kaspi app (§2.2). Safe to repeat, as `create_qr`."""
        body = self._purchase(Call.LINK_CREATE, device_token, amount, external_id)
        return await self._post(Call.LINK_CREATE, body, reading.link_created)

    async def payment_status(self, payment_id: int) -> PaymentStatus:
        """The status word, and the paid amount where v02 gives it (§2.2). Asks v02; where that call seems not
        to exist, v01, and then stays with v01 for an hour.
        """
        if time.monotonic() < self._v01_until:
            return await self._status(payment_id, "v01")
        try:
            return await self._status(payment_id, "v02")
        except (KaspiNotFound, KaspiUnavailable) as error:
            reason = error.reason
            if not isinstance(error, KaspiNotFound) and reason not in _NO_SUCH_CALL | _ODD_ANSWER:
                raise  # an overloaded or absent bank gets no second call from us
        # Also for "not found": an alarm that costs a human's attention is worth one more question.
        answer = await self._status(payment_id, "v01")
        if reason in _NO_SUCH_CALL:
            self._v01_until = time.monotonic() + _REMEMBER_V01
        return answer

    async def client_info(self, phone: str, device_token: str) -> str:
        """The full name of the phone's owner: personal data (§2.4, r3). The bank allows 50 calls a minute."""
        self._require(Call.CLIENT_INFO, Scheme.R3)
        params = {"phoneNumber": _phone(Call.CLIENT_INFO, phone), "deviceToken": device_token}
        return await self._transport.get(Call.CLIENT_INFO, "remote/client-info", reading.client_name, params)

    async def create_remote(self, device_token: str, amount: int, phone: str, comment: str) -> int:
        """Sends an invoice to a phone; gives its payment id (§2.4, r3 only). The payer reads `comment` and has
        24 hours. After `KaspiOutcomeUnknown` the payer may hold an invoice that no call can find: never repeat.
        """
        self._require(Call.REMOTE_CREATE, Scheme.R3)
        body = wire.CreateRemote(
            organization_bin=self._bin,
            amount=_amount(Call.REMOTE_CREATE, amount),
            phone_number=_phone(Call.REMOTE_CREATE, phone),
            device_token=device_token,
            comment=comment or None,
        )
        return await self._post(Call.REMOTE_CREATE, body, reading.remote_payment_id)

    async def cancel_remote(self, device_token: str, payment_id: int) -> str:
        """The bank's status word after the attempt: trust it, not the mere success (§2.4, §5; r3 only). After
        `KaspiOutcomeUnknown` read `payment_status`.
        """
        self._require(Call.REMOTE_CANCEL, Scheme.R3)
        body = wire.CancelRemote(organization_bin=self._bin, qr_payment_id=payment_id, device_token=device_token)
        return await self._post(Call.REMOTE_CANCEL, body, reading.cancel_word)

    async def payment_details(self, device_token: str, payment_id: int) -> PaymentDetails:
        """Paid and still refundable sums (§2.3, §2.4; r2 and r3)."""
        self._require(Call.DETAILS, Scheme.R2, Scheme.R3)
        params = {"QrPaymentId": str(payment_id), "DeviceToken": device_token}
        return await self._transport.get(Call.DETAILS, "payment/details", reading.payment_details, params)

    async def return_payment(self, device_token: str, payment_id: int, amount: int) -> int:
        """Refunds without the customer; gives the bank's operation id (§2.4, r3 only). After
        `KaspiOutcomeUnknown` follow the protocol of §5 with `payment_details`; never repeat blindly.
        """
        self._require(Call.RETURN, Scheme.R3)
        body = wire.ReturnPayment(
            device_token=device_token,
            organization_bin=self._bin,
            qr_payment_id=payment_id,
            amount=_amount(Call.RETURN, amount),
        )
        return await self._post(Call.RETURN, body, reading.return_operation_id)

    async def _post(self, call: Call, body: wire.Out, read: Reader[T]) -> T:
        return await self._transport.post(call, wire.encode(body), read)

    async def _status(self, payment_id: int, version: str) -> PaymentStatus:
        path = f"payment/status/{payment_id}"
        return await self._transport.get(Call.STATUS, path, reading.payment_status, version=version)

    def _purchase(self, call: Call, device_token: str, amount: int, external_id: str | None) -> wire.CreatePurchase:
        return wire.CreatePurchase(
            device_token=device_token,
            amount=_amount(call, amount),
            external_id=external_id,
            organization_bin=self._bin,
        )

    def _require(self, call: Call, *schemes: Scheme) -> None:
        if self._scheme not in schemes:
            raise KaspiRefused(call, "scheme_unsupported")


def _amount(call: Call, tiyn: int) -> msgspec.Raw:
    try:
        return amount_to_wire(tiyn)
    except ValueError:
        raise KaspiRefused(call, "bad_amount") from None


def _phone(call: Call, phone: str) -> str:
    if not re.fullmatch(r"7[0-9]{10}", phone):
        raise KaspiRefused(call, "bad_phone")
    return "8" + phone[1:]
