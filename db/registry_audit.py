"""What the audit log says of merchants, keys, links to the bank, webhook endpoints, and catalog items."""

from enum import StrEnum

from domain.audit import Actor, ActorKind, AuditEntry, standing
from domain.catalog import CatalogItem
from domain.event import DisabledReason, Endpoint
from domain.merchant import Health, Mode
from domain.rate_limit import RateLimit

VALID = "valid"
REVOKED = "revoked"
RETIRED = "retired"
ENABLED = "enabled"
DISABLED = "disabled"
DELETED = "deleted"
FOR_SALE = "for_sale"
ARCHIVED = "archived"


def merchant_created(merchant_id: str, operator: str) -> AuditEntry:
    """By `tolem merchants add`."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=_operator(operator),
        action="merchant.created",
        object_type="merchant",
        object_id=merchant_id,
        is_sandbox=False,
    )


def key_created(merchant_id: str, key_id: str, mode: Mode, operator: str) -> AuditEntry:
    """By `tolem keys add`; of a test key, test keys see the row too."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=_operator(operator),
        action="api_key.created",
        object_type="api_key",
        object_id=key_id,
        is_sandbox=mode is Mode.TEST,
        after=VALID,
    )


def key_revoked(merchant_id: str, key_id: str, mode: Mode, operator: str) -> AuditEntry:
    """By `tolem keys revoke`."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=_operator(operator),
        action="api_key.revoked",
        object_type="api_key",
        object_id=key_id,
        is_sandbox=mode is Mode.TEST,
        before=VALID,
        after=REVOKED,
    )


def key_limited(
    merchant_id: str, key_id: str, mode: Mode, operator: str, before: RateLimit | None, after: RateLimit | None
) -> AuditEntry:
    """By `tolem keys limit`; None is the default limit."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=_operator(operator),
        action="api_key.limited",
        object_type="api_key",
        object_id=key_id,
        is_sandbox=mode is Mode.TEST,
        note=f"{_limit(before)} to {_limit(after)}",
    )


def _limit(limit: RateLimit | None) -> str:
    if limit is None:
        return "default"
    return f"{limit.per_minute} a minute, {limit.burst} at once" if limit.per_minute else "no limit"


def connection_created(merchant_id: str, connection_id: str, operator: str) -> AuditEntry:
    """By `tolem connections add`, after the bank answered."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=_operator(operator),
        action="connection.created",
        object_type="connection",
        object_id=connection_id,
        is_sandbox=False,
        after=Health.CONNECTED,
    )


def connection_retired(merchant_id: str, connection_id: str, health: str, operator: str) -> AuditEntry:
    """Another link took its place; its open payments stay on it."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=_operator(operator),
        action="connection.retired",
        object_type="connection",
        object_id=connection_id,
        is_sandbox=False,
        before=health,
        after=RETIRED,
    )


def connection_health(
    merchant_id: str, connection_id: str, before: tuple[str, str | None], after: tuple[str, str | None]
) -> AuditEntry:
    """The poller's word on how the bank answers: health and reason, before and after."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=Actor(kind=ActorKind.WORKFLOW, id=f"kaspi-session-{connection_id}"),
        action=f"connection.{after[0]}",
        object_type="connection",
        object_id=connection_id,
        is_sandbox=False,
        before=standing(*before),
        after=standing(*after),
    )


def endpoint_created(
    merchant_id: str, endpoint_id: str, *, is_sandbox: bool, key: str, request_id: str | None
) -> AuditEntry:
    """By a merchant's key. The URL is not told: it can carry a secret."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=Actor(kind=ActorKind.KEY, id=key),
        action="webhook_endpoint.created",
        object_type="webhook_endpoint",
        object_id=endpoint_id,
        is_sandbox=is_sandbox,
        after=ENABLED,
        request_id=request_id,
    )


class EndpointAct(StrEnum):
    """What a merchant's key does to an endpoint that exists, as the log's `action` says it."""

    UPDATED = "webhook_endpoint.updated"
    DELETED = "webhook_endpoint.deleted"
    ENABLED = "webhook_endpoint.enabled"
    DISABLED = "webhook_endpoint.disabled"
    SECRET_ROTATED = "webhook_endpoint.secret_rotated"  # noqa: S105 -- an action


def endpoint_acted(
    act: EndpointAct,
    before: Endpoint,
    *,
    key: str,
    request_id: str | None,
    after: str | None = None,
    note: str | None = None,
) -> AuditEntry:
    """By a merchant's key. `before` is the endpoint until now, `after` its new standing where that changed.

    `note` names fields and never tells what stands in them: a URL can carry a secret.
    """
    return AuditEntry(
        merchant_id=before.merchant_id,
        actor=Actor(kind=ActorKind.KEY, id=key),
        action=act,
        object_type="webhook_endpoint",
        object_id=before.id,
        is_sandbox=before.is_sandbox,
        before=None if after is None else _endpoint_standing(before),
        after=after,
        request_id=request_id,
        note=note,
    )


def _endpoint_standing(endpoint: Endpoint) -> str:
    return ENABLED if endpoint.enabled else standing(DISABLED, endpoint.disabled_reason)


def endpoint_disabled_by_us(endpoint: Endpoint, reason: DisabledReason, delivery_id: str) -> AuditEntry:
    """By the delivery whose failure was the last one."""
    return AuditEntry(
        merchant_id=endpoint.merchant_id,
        actor=Actor(kind=ActorKind.WORKFLOW, id=f"delivery-{delivery_id}"),
        action="webhook_endpoint.disabled",
        object_type="webhook_endpoint",
        object_id=endpoint.id,
        is_sandbox=endpoint.is_sandbox,
        before=ENABLED,
        after=standing(DISABLED, reason),
    )


class CatalogAct(StrEnum):
    """What a merchant's key does to a catalog item that exists, as the log's `action` says it."""

    UPDATED = "catalog_item.updated"
    ARCHIVED = "catalog_item.archived"
    RESTORED = "catalog_item.restored"


def catalog_item_created(item: CatalogItem, *, key: str, request_id: str | None) -> AuditEntry:
    """By a merchant's key."""
    return AuditEntry(
        merchant_id=item.merchant_id,
        actor=Actor(kind=ActorKind.KEY, id=key),
        action="catalog_item.created",
        object_type="catalog_item",
        object_id=item.id,
        is_sandbox=item.is_sandbox,
        after=FOR_SALE,
        request_id=request_id,
        note=f"price {item.price} tiyn",
    )


def catalog_item_acted(
    act: CatalogAct, before: CatalogItem, after: CatalogItem, *, key: str, request_id: str | None, fields: list[str]
) -> AuditEntry:
    """By a merchant's key. `note` names the fields that changed; of a price it tells both, in tiyn."""
    told = [f"price {before.price} to {after.price} tiyn" if name == "price" else name for name in fields]
    moved = before.archived_at != after.archived_at
    return AuditEntry(
        merchant_id=before.merchant_id,
        actor=Actor(kind=ActorKind.KEY, id=key),
        action=act,
        object_type="catalog_item",
        object_id=before.id,
        is_sandbox=before.is_sandbox,
        before=_catalog_standing(before) if moved else None,
        after=_catalog_standing(after) if moved else None,
        request_id=request_id,
        note=", ".join(told),
    )


def _catalog_standing(item: CatalogItem) -> str:
    return FOR_SALE if item.archived_at is None else ARCHIVED


def _operator(name: str) -> Actor:
    return Actor(kind=ActorKind.OPERATOR, id=name)
