"""Everything that is served at `/api` in ApiPay's words, but the address that v1 serves too."""

from typing import Any

from api.apipay.invoices import ApiPayInvoices
from api.apipay.organizations import apipay_verify, organization_status
from api.apipay.recurring import ApiPayRecurring
from api.apipay.refunds import ApiPayRefunds, apipay_invoice_refunds, apipay_refund

ROUTES: list[Any] = [
    ApiPayInvoices,
    ApiPayRecurring,
    ApiPayRefunds,
    apipay_refund,
    apipay_invoice_refunds,
    organization_status,
]
# Of the description: `api.v1.merchant` serves this one.
DESCRIBED: list[Any] = [*ROUTES, apipay_verify]
