"""The ApiPay contract's own description and page: `/api/docs/apipay`."""

from functools import lru_cache
from typing import Any

from litestar import Litestar, MediaType, Response, Router, get
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import (
    Components,
    Contact,
    ExternalDocumentation,
    License,
    OpenAPI,
    SecurityScheme,
    Server,
    Tag,
)

from api import auth
from api.apipay.examples import add_examples
from api.apipay.routes import DESCRIBED
from api.docs import DOCS_PATH, page
from api.guides import PATH as GUIDES
from api.schemas import AmountSchema
from contracts.apipay_answers import ApiPayAnswers

PATH = f"{DOCS_PATH}/apipay"

_INTRODUCTION = f"""
The ApiPay v1.0 contract, served over the same bills, refunds and webhooks as [Tölem's own](/api/docs). Whoever is
integrated with ApiPay changes the base URL (`…/api`) and the key. What differs:
[coming from ApiPay]({GUIDES}/apipay.md), [переход с ApiPay]({GUIDES}/ru/apipay.md).

* **Key**: header `X-API-Key`. With a `tk_test_…` key everything is sandbox.
* **Ids** are the merchant's own numbers; `tolem_id` is the id of the same object at `/api/v1`.
* **Repeat safely**: `Idempotency-Key`, which ApiPay does not have.
* **Errors**: `{{"message", "errors": {{field: [..]}}}}`; 429 has `retry_after`.
"""


def description(public_url: str) -> OpenAPI:
    """OpenAPI 3.1 of the contract alone."""
    dependencies = {"services": Provide(auth.services_of), "principal": Provide(auth.principal_of)}
    app = Litestar(
        [Router("/api", route_handlers=DESCRIBED, dependencies=dependencies)],
        openapi_config=OpenAPIConfig(
            title="Tölem: the ApiPay contract",
            version="1.0.0",
            description=_INTRODUCTION,
            external_docs=ExternalDocumentation(url=GUIDES, description="Guides · Документация · Құжаттама"),
            contact=Contact(name="Tölem"),
            license=License(name="Apache-2.0", identifier="Apache-2.0"),
            servers=[Server(url=public_url)],
            security=[{"ApiKeyAuth": []}],
            components=Components(
                security_schemes={
                    "ApiKeyAuth": SecurityScheme(type="apiKey", security_scheme_in="header", name="X-API-Key")
                }
            ),
            tags=[
                Tag(name="Organizations", description="Organization verification"),
                Tag(name="Invoices", description="Payment invoices"),
                Tag(name="Refunds", description="Refunds for paid invoices"),
                Tag(name="Recurring Invoices", description="Subscription billing"),
            ],
            use_handler_docstrings=False,
        ),
        plugins=[AmountSchema()],
        logging_config=None,
    )
    made = app.openapi_schema
    add_examples(made, ApiPayAnswers(public_url))
    return made


def apipay_docs(public_url: str) -> list[Any]:
    """The page and the description, which is made when it is first asked for."""
    described = lru_cache(maxsize=1)(lambda: description(public_url).to_schema())

    @get(PATH, include_in_schema=False, sync_to_thread=False, name="apipay-docs")
    def show_page() -> Response[bytes]:
        return Response(page("Tölem: the ApiPay contract", f"{PATH}/openapi.json"), media_type=MediaType.HTML)

    @get(f"{PATH}/openapi.json", include_in_schema=False, sync_to_thread=True, name="apipay-openapi")
    def show_description() -> dict[str, Any]:
        return described()

    return [show_page, show_description]
