"""The JSON of the ApiPay v1.0 contract's answers (its webhooks: contracts.apipay).

Its schemas know no null: what is not there is left out. What ApiPay does not have stands at the end of each shape.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import Code
from domain.organization import OrganizationStatus
from domain.refund import RefundState

Amount = Annotated[str, Meta(examples=["10000.00"], description="Tenge with two decimals.")]
Moment = Annotated[str, Meta(examples=["2026-11-22T06:17:33Z"], description="ISO 8601, UTC, whole seconds.")]
Phone = Annotated[str, Meta(examples=["87011234567"], description="8XXXXXXXXXX.")]
Number = Annotated[int, Meta(examples=[42], description="The merchant's own number.")]


class Status(StrEnum):
    """ApiPay's words for a bill."""

    PENDING = "pending"
    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class InvoiceJson(msgspec.Struct, frozen=True, kw_only=True):
    """A bill. A refunded one stays `paid`, `total_refunded` says how much went back.

    `client_name` is never there: the bank does not tell who pays. `tolem_id` is its id in the v1 contract.
    """

    id: Number
    kaspi_invoice_id: Annotated[str, Meta(examples=["13234689513"])] | UnsetType = UNSET
    kaspi_qr_token: str | UnsetType = UNSET
    payment_url: str | UnsetType = UNSET
    amount: Amount
    status: Status
    description: str
    external_order_id: str | UnsetType = UNSET
    client_name: str | UnsetType = UNSET
    client_phone: Phone | UnsetType = UNSET
    created_at: Moment
    paid_at: Moment | UnsetType = UNSET
    cancelled_at: Moment | UnsetType = UNSET
    expired_at: Moment | UnsetType = UNSET
    total_refunded: Amount
    is_sandbox: bool
    tolem_id: Annotated[str, Meta(examples=["inv_q3mjn2v7o5y3c6d2xk4wz7h5ua"])]


class RefundJson(msgspec.Struct, frozen=True, kw_only=True):
    """Money on its way back. `tolem_id` is its id in the v1 contract."""

    id: Number
    invoice_id: Number
    amount: Amount
    status: RefundState
    reason: str
    created_at: Moment
    tolem_id: Annotated[str, Meta(examples=["ref_n3qjm2v7o5y3c6d2xk4wz7h5ub"])]


class PaginationMeta(msgspec.Struct, frozen=True, kw_only=True):
    """`total` counts up to 10 000, and pages end there; `has_more` is always exact."""

    current_page: int
    per_page: int
    total: int
    has_more: bool


class InvoicePageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    data: list[InvoiceJson]
    meta: PaginationMeta


class RefundPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    data: list[RefundJson]
    meta: PaginationMeta


class RefundListJson(msgspec.Struct, frozen=True, kw_only=True):
    """Every refund of one bill, newest first (the newest 100)."""

    data: list[RefundJson]


class OrganizationJson(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation that is being verified. `time_remaining` in seconds."""

    id: Number
    idn: Annotated[str, Meta(examples=["210140000016"], description="BIN or IIN.")]
    status: OrganizationStatus
    time_remaining: int


class VerificationStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A verification has begun, or was not needed."""

    organization: OrganizationJson
    message: str


class OrganizationState(msgspec.Struct, frozen=True, kw_only=True):
    """How a verification stands."""

    organization: OrganizationJson


class ApiPayErrorJson(msgspec.Struct, frozen=True, kw_only=True):
    """Every error of the contract. `errors` says what is wrong with each field; `retry_after` in seconds.

    `code` is stable and the same as in v1.
    """

    message: str
    errors: dict[str, list[str]] | UnsetType = UNSET
    retry_after: int | UnsetType = UNSET
    code: Code
    request_id: str
