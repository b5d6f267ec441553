"""The nouns in the bank's books. Times are Unix milliseconds, money is tiyn."""

from typing import Literal

import msgspec

Scheme = Literal["r1", "r2", "r3"]
Kind = Literal["qr", "link", "remote"]
State = Literal["created", "waiting", "paid", "failed", "canceled", "rejected"]


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant; `partner_cn` is the common name of the client certificate that may act for it."""

    bin: str
    name: str
    partner_cn: str
    api_key: str
    schemes: tuple[Scheme, ...]


class TradePoint(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    organization_bin: str
    name: str
    enabled: bool
    qr_enabled: bool


class Device(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    organization_bin: str
    device_id: str
    trade_point_id: int
    active: bool


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is what happened; the bank's word for it also depends on the clock (see life.word).

    `expires_at` ends the wait for a scan (QR, link) or for the payer (remote); `confirm_by` ends Wait.
    `payments` counts how often the payer's money was taken.
    """

    id: int
    kind: Kind
    organization_bin: str
    trade_point_id: int
    device_token: str
    amount_tiyn: int
    state: State
    rejected_word: str | None
    phone: str | None
    comment: str | None
    external_id: str | None
    x_request_id: str | None
    created_at: int
    expires_at: int
    confirm_by: int | None
    paid_at: int | None
    payments: int
    refunded_tiyn: int
    qr_token: str | None
    payment_link: str | None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    purchase_id: int
    amount_tiyn: int
    source: Literal["api", "cashier"]
    device_token: str | None
    return_id: int | None
    x_request_id: str | None
    created_at: int


class ReturnQr(msgspec.Struct, frozen=True, kw_only=True):
    """A refund QR of the standard scheme (fact sheet §2.3); `phone` is known once a customer scanned it."""

    id: int
    organization_bin: str
    device_token: str
    external_id: str | None
    qr_token: str
    created_at: int
    expires_at: int
    failed: bool
    phone: str | None
