"""The metadata all tables hang on, and the column shapes they share."""

from typing import Any

from sqlalchemy import Column, DateTime, MetaData, Text, func

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def moment(name: str, *, nullable: bool = True) -> Column[Any]:
    """A UTC time."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def created() -> Column[Any]:
    """When the row was written, by the database's clock."""
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def tenant() -> Column[Any]:
    """The merchant a row belongs to: leads every index, and row-level security compares it."""
    return Column("merchant_id", Text, nullable=False)
