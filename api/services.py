"""What request handlers work with; built once by `api.app`."""

import msgspec

from contracts.v1 import V1
from db.reads import Reads
from db.registry import MerchantRecords
from db.watches import Watches
from runtime.secrets import SealBox
from runtime.settings import Api, Invoices
from webhooks.guard import EgressRules
from workflows.client import Engine


class Services(msgspec.Struct, frozen=True):
    """The gateways of the API; reads only, but for plain records and the wish for a status check."""

    reads: Reads
    records: MerchantRecords
    watches: Watches
    engine: Engine
    v1: V1
    box: SealBox
    egress: EgressRules
    api: Api
    invoices: Invoices
    temporal_lag: float = 1.0
