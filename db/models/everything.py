"""Imports every table, so that the metadata is whole (migrations, checks)."""

from db.models import audit, invoices, merchants, reconciliation, refunds, webhooks
from db.models.base import metadata

__all__ = ["audit", "invoices", "merchants", "metadata", "reconciliation", "refunds", "webhooks"]
