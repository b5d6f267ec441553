"""The API's composition: settings to gateways to routes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.di import Provide

from api import auth, docs
from api.apipay.docs import apipay_docs
from api.apipay.empty_parameters import drop_empty_status
from api.apipay.routes import ROUTES
from api.codec import codec_routes
from api.error_pages import error_pages
from api.errors import HANDLERS
from api.examples import add_examples
from api.guides import guide_list, guide_page
from api.health import live, ready
from api.pay import payment_page
from api.rate_limits import add_headers
from api.schemas import AmountSchema
from api.services import Services
from api.v1.audit_logs import audit_logs
from api.v1.catalog import CatalogController
from api.v1.event_stream import stream_events
from api.v1.events import EventController
from api.v1.invoices import InvoiceController
from api.v1.jobs import jobs
from api.v1.merchant import kaspi_session, me, verify_organization
from api.v1.qr import create_qr
from api.v1.reconciliations import ReconciliationController
from api.v1.redeliveries import RedeliveryController, redeliver
from api.v1.refunds import RefundController, invoice_refunds, refund_invoice, simulate_refund
from api.v1.sandbox import simulate
from api.v1.scenarios import list_scenarios
from api.v1.subscription_actions import SubscriptionActionController
from api.v1.subscriptions import SubscriptionController
from api.v1.test_clocks import TestClockController
from api.v1.webhook_deliveries import WebhookDeliveryController, resend_event
from api.v1.webhooks import WebhookController
from contracts.apipay_answers import ApiPayAnswers
from contracts.rendering import Contracts
from contracts.v1 import V1
from db.audit_reads import AuditReads
from db.catalog import Catalog
from db.delivery_reads import DeliveryReads
from db.endpoints import Endpoints
from db.engine import create_engine
from db.event_reads import EventReads
from db.job_reads import JobReads
from db.organizations import Organizations
from db.reads import Reads
from db.reconciliation_reads import ReconciliationReads
from db.reconciliations import Reconciliations
from db.redeliveries import Redeliveries
from db.refund_reads import RefundReads
from db.registry import MerchantRecords
from db.replaying import Replaying
from db.subscription_reads import SubscriptionReads
from db.test_clocks import TestClocks
from db.watches import Watches
from domain.rate_limit import RateLimit
from runtime import settings as conf
from runtime.payload_codec import EncryptionCodec
from runtime.secrets import SealBox
from runtime.task_queues import TaskQueues
from runtime.temporal import connect
from webhooks.guard import EgressRules
from workflows.client import Engine

SECTIONS = (
    conf.Database,
    conf.Temporal,
    conf.Keys,
    conf.Api,
    conf.RateLimits,
    conf.Invoices,
    conf.Reconciliation,
    conf.Webhooks,
    conf.Worker,
    conf.Log,
)
MAX_BODY_BYTES = 64 * 1024


def routes() -> list[Any]:
    """Every documented route."""
    dependencies = {
        "services": Provide(auth.services_of),
        "principal": Provide(auth.principal_of),
    }
    v1 = Router(
        "/v1",
        route_handlers=[
            InvoiceController,
            WebhookController,
            EventController,
            stream_events,
            WebhookDeliveryController,
            resend_event,
            jobs,
            RefundController,
            refund_invoice,
            invoice_refunds,
            simulate_refund,
            create_qr,
            simulate,
            list_scenarios,
            audit_logs,
            ReconciliationController,
            RedeliveryController,
            CatalogController,
            SubscriptionController,
            SubscriptionActionController,
            TestClockController,
            redeliver,
            me,
            kaspi_session,
        ],
    )
    # ApiPay's contract has a description of its own.
    apipay = Router("/", route_handlers=ROUTES, include_in_schema=False, before_request=drop_empty_status)
    handlers: list[Any] = [v1, verify_organization, apipay]
    api = Router("/api", route_handlers=handlers, dependencies=dependencies, guards=[auth.key_needed])
    return [api, live, ready, payment_page, error_pages, guide_list, guide_page, docs.assets_router()]


def create_app(
    public_url: str,
    *,
    extra_routes: list[Any] | None = None,
    lifespan: list[Callable[[Litestar], AbstractAsyncContextManager[None]]] | None = None,
    cors_origin: str | None = None,
) -> Litestar:
    """The application without its gateways (the OpenAPI file is made from this)."""
    cors = None
    if cors_origin is not None:
        cors = CORSConfig(
            allow_origins=[cors_origin],
            allow_methods=["POST", "OPTIONS"],
            allow_headers=["content-type", "x-namespace", "authorization"],
            allow_credentials=True,
        )
    app = Litestar(
        route_handlers=[*routes(), *apipay_docs(public_url), *(extra_routes or [])],
        exception_handlers=HANDLERS,
        lifespan=lifespan or [],
        openapi_config=docs.openapi_config(public_url),
        cors_config=cors,
        request_max_body_size=MAX_BODY_BYTES,
        before_send=[add_headers],
        plugins=[AmountSchema()],
        logging_config=None,
        debug=False,
    )
    add_examples(app.openapi_schema, V1(public_url))
    return app


def production_app(settings: conf.Settings) -> Litestar:
    """The application as it runs; it comes up while Postgres or Temporal are away and says so in its answers."""
    keys, api = settings[conf.Keys], settings[conf.Api]

    @asynccontextmanager
    async def gateways(app: Litestar) -> AsyncIterator[None]:
        pool = create_engine(settings[conf.Database].url.reveal(), pool_size=settings[conf.Database].pool)
        client = await connect(settings[conf.Temporal], keys.payload, lazy=True, identity="tolem-api")
        hooks = settings[conf.Webhooks]
        app.state.services = Services(
            reads=Reads(pool),
            events=EventReads(pool),
            refunds=RefundReads(pool),
            audit=AuditReads(pool),
            records=MerchantRecords(pool),
            endpoints=Endpoints(pool),
            watches=Watches(pool),
            engine=Engine(client, TaskQueues(settings[conf.Worker].task_queue_prefix)),
            v1=V1(api.public_url),
            apipay=ApiPayAnswers(api.public_url),
            box=SealBox(keys.seal),
            egress=EgressRules(allowed_hosts=frozenset(hooks.allowed_hosts), allow_http=hooks.allow_http),
            api=api,
            invoices=settings[conf.Invoices],
            reconciliations=ReconciliationReads(pool),
            reconciliation_records=Reconciliations(pool),
            reconciliation=settings[conf.Reconciliation],
            redeliveries=Redeliveries(pool),
            catalog=Catalog(pool),
            subscriptions=SubscriptionReads(pool),
            clocks=TestClocks(pool),
            organizations=Organizations(pool),
            rate_limit=RateLimit(settings[conf.RateLimits].per_minute, settings[conf.RateLimits].burst),
            deliveries=DeliveryReads(pool),
            replaying=Replaying(pool, Contracts(api.public_url)),
            jobs=JobReads(pool),
            webhooks=hooks,
        )
        try:
            yield
        finally:
            await pool.dispose()

    return create_app(
        api.public_url,
        extra_routes=codec_routes(EncryptionCodec(keys.payload), keys.codec_token),
        lifespan=[gateways],
        cors_origin=api.temporal_ui_origin,
    )
