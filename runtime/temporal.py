"""The way to Temporal: one data converter for client, worker, replayer and codec endpoint, one connect."""

from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.failure.v1 import Failure
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import TLSConfig

from runtime.payload_codec import EncryptionCodec
from runtime.payloads import TolemPayloadConverter
from runtime.secrets import KeyRing, Secret
from runtime.settings import Temporal
from runtime.task_queues import QUEUES, TaskQueues
from runtime.temporal_names import SEARCH_ATTRIBUTES

__all__ = [
    "QUEUES",
    "SEARCH_ATTRIBUTES",
    "SearchAttributeConflict",
    "TaskQueues",
    "TemporalUnreachable",
    "connect",
    "data_converter",
    "register_search_attributes",
]

_CONNECT_TIMEOUT = timedelta(seconds=5)


class TerseFailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Failures that are everyday (`BENIGN`: a receiver did not answer) travel without a stack trace.

    It says nothing, and is a tenth of what a worker does while many receivers are ill.
    """

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """As the default one."""
        if isinstance(exception, ApplicationError) and exception.category is ApplicationErrorCategory.BENIGN:
            exception = exception.with_traceback(None)
        super().to_failure(exception, payload_converter, failure)


class TemporalUnreachable(Exception):
    """The first connection failed; the text names the setting to check."""


class SearchAttributeConflict(Exception):
    """A search attribute of ours exists with another type; only an operator can remove it."""


def data_converter(ring: KeyRing) -> DataConverter:
    """Payloads by msgspec, encrypted; the messages and stack traces of failures go the same way."""
    return DataConverter(
        payload_converter_class=TolemPayloadConverter,
        payload_codec=EncryptionCodec(ring),
        failure_converter_class=TerseFailureConverter,
    )


async def connect(settings: Temporal, ring: KeyRing, *, lazy: bool = False, identity: str | None = None) -> Client:
    """A client that encrypts with `ring`; `TemporalUnreachable` when the first connection fails.

    A lazy client connects at its first call, so an API comes up while Temporal is down; a worker needs an
    eager one.
    """
    try:
        return await Client.connect(
            settings.address,
            namespace=settings.namespace,
            api_key=_text(settings.api_key),
            tls=_tls(settings),
            data_converter=data_converter(ring),
            identity=identity,
            lazy=lazy,
            connect_timeout=_CONNECT_TIMEOUT,
        )
    except RuntimeError as error:
        raise TemporalUnreachable(
            f"no Temporal at {settings.address} (TOLEM_TEMPORAL_ADDRESS, TOLEM_TEMPORAL_TLS)"
        ) from error


async def register_search_attributes(client: Client) -> list[str]:
    """Adds to the namespace what is missing of `SEARCH_ATTRIBUTES`; gives the names added.

    Safe to repeat. `SearchAttributeConflict` if a name has another type. A cluster
    may need a minute until its caches let a workflow use a new attribute; Temporal Cloud wants its own tool.
    """
    service, namespace = client.operator_service, client.namespace
    listed = await service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    wanted = {key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for key in SEARCH_ATTRIBUTES}
    for name, kind in wanted.items():
        if listed.custom_attributes.get(name, kind) != kind:
            raise SearchAttributeConflict(f"search attribute {name} exists in {namespace} and is no Keyword")
    missing = {name: kind for name, kind in wanted.items() if name not in listed.custom_attributes}
    if missing:
        await service.add_search_attributes(AddSearchAttributesRequest(namespace=namespace, search_attributes=missing))
    return sorted(missing)


def _tls(settings: Temporal) -> bool | TLSConfig:
    if not settings.tls:
        return False
    if settings.client_certificate is None and settings.server_ca is None:
        return True
    return TLSConfig(
        server_root_ca_cert=_bytes(settings.server_ca),
        client_cert=_bytes(settings.client_certificate),
        client_private_key=_bytes(settings.client_key),
    )


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _bytes(secret: Secret | None) -> bytes | None:
    return None if secret is None else secret.reveal().encode()
