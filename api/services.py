"""What request handlers work with; built once by `api.app`."""

import msgspec

from api.streams import Streams
from contracts.apipay_answers import ApiPayAnswers
from contracts.v1 import V1
from db.audit_reads import AuditReads
from db.catalog import Catalog
from db.delivery_reads import DeliveryReads
from db.endpoints import Endpoints
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
from runtime.secrets import SealBox
from runtime.settings import Api, Invoices, Reconciliation, Webhooks
from webhooks.guard import EgressRules
from workflows.client import Engine


class Services(msgspec.Struct, frozen=True):
    """The gateways of the API; reads only, but for plain records and the wish for a status check."""

    reads: Reads
    events: EventReads
    refunds: RefundReads
    audit: AuditReads
    records: MerchantRecords
    endpoints: Endpoints
    watches: Watches
    engine: Engine
    v1: V1
    apipay: ApiPayAnswers
    box: SealBox
    egress: EgressRules
    api: Api
    invoices: Invoices
    reconciliations: ReconciliationReads
    reconciliation_records: Reconciliations
    reconciliation: Reconciliation
    webhooks: Webhooks
    deliveries: DeliveryReads
    replaying: Replaying
    jobs: JobReads
    redeliveries: Redeliveries
    catalog: Catalog
    rate_limit: RateLimit
    organizations: Organizations
    subscriptions: SubscriptionReads
    clocks: TestClocks
    temporal_lag: float = 1.0
    streams: Streams = msgspec.field(default_factory=Streams)
