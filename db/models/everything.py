"""Imports every table, so that the metadata is whole (migrations, checks)."""

from db.models import audit, catalog, invoices, merchants, reconciliation, refunds, subscriptions, webhooks
from db.models.base import metadata

__all__ = [
    "audit", "catalog", "invoices", "merchants", "metadata", "reconciliation", "refunds", "subscriptions", "webhooks",
]  # fmt: skip
