"""Imports every table, so that the metadata is whole (migrations, checks)."""

from db.models import (
    audit,
    catalog,
    invoices,
    merchants,
    organizations,
    reconciliation,
    refunds,
    subscriptions,
    webhooks,
)
from db.models.base import metadata

__all__ = [
    "audit",
    "catalog",
    "invoices",
    "merchants",
    "metadata",
    "organizations",
    "reconciliation",
    "refunds",
    "subscriptions",
    "webhooks",
]
