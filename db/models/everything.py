"""Imports every table, so that the metadata is whole (migrations, checks)."""

from db.models import invoices, merchants, refunds, webhooks
from db.models.base import metadata

__all__ = ["invoices", "merchants", "metadata", "refunds", "webhooks"]
