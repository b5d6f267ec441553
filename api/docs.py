"""The API's documentation: OpenAPI 3.1 and a page that works without the internet."""

from pathlib import Path
from typing import Any

from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, Contact, ExternalDocumentation, License, SecurityScheme, Server, Tag
from litestar.static_files import create_static_files_router

from api.guides import PATH as GUIDES

DOCS_PATH = "/api/docs"
ASSETS_PATH = "/assets/docs"
ASSETS = Path(__file__).parent / "static" / "swagger-ui"

_INTRODUCTION = f"""
Payments by Kaspi Pay: send a bill to a phone, show a QR, share a link; a signed webhook tells what became of it.

* **Guides**: [all of them]({GUIDES}), [getting started]({GUIDES}/getting-started.md),
  [первые шаги]({GUIDES}/ru/getting-started.md), [бастау]({GUIDES}/kk/getting-started.md).
* **Key**: header `X-API-Key`. A `tk_test_…` key makes sandbox objects only, a `tk_live_…` key makes both.
* **Repeat safely**: send `Idempotency-Key` with every creation. The same key gives the same answer and no second bill.
* **Answers of doubt**: `status: processing` with `attention: kaspi_outcome_unknown` means that the bank's answer was
  lost. The bill is held, never repeated; an operator settles it, and a webhook tells.
* **Coming from ApiPay?** Its contract is served beside this one: [/api/docs/apipay](/api/docs/apipay).
* **Errors** have one shape; `error` is stable, `errors` names every wrong field, `retryable` says whether to repeat.
"""


def page(title: str, url: str) -> bytes:
    """Swagger UI over the description at `url`."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{ASSETS_PATH}/favicon-32x32.png">
<link rel="stylesheet" href="{ASSETS_PATH}/swagger-ui.css">
<style>body {{ margin: 0 }} .swagger-ui .topbar {{ display: none }}</style>
</head>
<body>
<div id="docs"></div>
<script src="{ASSETS_PATH}/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({{
  url: "{url}", dom_id: "#docs", deepLinking: true, persistAuthorization: true,
  displayRequestDuration: true, tryItOutEnabled: true, docExpansion: "list", defaultModelsExpandDepth: 0,
}});
</script>
</body>
</html>
""".encode()


class DocsPage(OpenAPIRenderPlugin):
    """Swagger UI from our own files."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page; the schema is fetched by it."""
        return page("Tölem API", f"{DOCS_PATH}/openapi.json")


def openapi_config(public_url: str) -> OpenAPIConfig:
    """OpenAPI at `/api/docs/openapi.json`, the page at `/api/docs`."""
    return OpenAPIConfig(
        title="Tölem API",
        version="1.0.0",
        description=_INTRODUCTION,
        contact=Contact(name="Tölem"),
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        servers=[Server(url=public_url)],
        path=DOCS_PATH,
        external_docs=ExternalDocumentation(url=GUIDES, description="Guides · Документация · Құжаттама"),
        security=[{"ApiKeyAuth": []}],
        components=Components(
            security_schemes={
                "ApiKeyAuth": SecurityScheme(type="apiKey", security_scheme_in="header", name="X-API-Key")
            }
        ),
        tags=[
            Tag(name="Invoices", description="Bills to a phone, and every bill's life."),
            Tag(name="QR", description="Bills for whoever scans or opens them."),
            Tag(name="Sandbox", description="Be the payer."),
            Tag(name="Webhooks", description="Where events go."),
            Tag(name="Merchant", description="Who you are here and at Kaspi."),
            Tag(name="Health", description="For load balancers."),
        ],
        render_plugins=[DocsPage(path="/"), JsonRenderPlugin(path="/openapi.json")],
        use_handler_docstrings=False,
    )


def assets_router() -> Any:
    """The page's files."""
    return create_static_files_router(
        path=ASSETS_PATH, directories=[ASSETS], include_in_schema=False, cache_control=None, name="docs-assets"
    )
