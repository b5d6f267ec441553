"""Organisations that keys are verified for (ApiPay's contract), as the application's role; each write with its audit
row.
"""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import audit
from db.engine import as_merchant
from db.errors import TooManyOrganizations
from domain.audit import Actor, ActorKind, AuditEntry
from domain.organization import MAX_ORGANIZATIONS, Organization

_COLUMNS = ", ".join(Organization.__struct_fields__)
_AGAIN = text(
    "update organizations set started_at = clock_timestamp()"
    f" where merchant_id = :merchant and is_sandbox = :sandbox and idn = :idn returning {_COLUMNS}"
)
_LAST = text("select coalesce(max(number), 0) from organizations where merchant_id = :merchant")
_NEW = text(
    "insert into organizations (merchant_id, number, is_sandbox, idn, started_at)"
    f" values (:merchant, :number, :sandbox, :idn, clock_timestamp()) returning {_COLUMNS}"
)
_ONE = text(
    f"select {_COLUMNS} from organizations where merchant_id = :merchant and number = :number and is_sandbox = :sandbox"
)


class Organizations:
    """One merchant's verifications; raises `DatabaseUnavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def start(
        self, merchant_id: str, idn: str, *, is_sandbox: bool, asked_by: str, request_id: str | None
    ) -> Organization:
        """The time begins now, also of one that was asked for before. `asked_by` is the API key's id.

        `TooManyOrganizations`: the merchant has tried as many numbers as it may.
        """
        values = {"merchant": merchant_id, "sandbox": is_sandbox, "idn": idn}
        # Numbers are given under the merchant's lock.
        async with as_merchant(self._engine, merchant_id, lock=merchant_id) as connection:
            row = (await connection.execute(_AGAIN, values)).mappings().one_or_none()
            if row is None:
                last = (await connection.execute(_LAST, {"merchant": merchant_id})).scalar_one()
                if last >= MAX_ORGANIZATIONS:
                    raise TooManyOrganizations("too many organisations")
                row = (await connection.execute(_NEW, values | {"number": last + 1})).mappings().one()
            made = msgspec.convert(row, Organization)
            told = AuditEntry(
                merchant_id=merchant_id,
                actor=Actor(kind=ActorKind.KEY, id=asked_by),
                action="organization.verification_started",
                object_type="organization",
                object_id=str(made.number),
                is_sandbox=is_sandbox,
                request_id=request_id,
            )
            await audit.append(connection, told)
        return made

    async def organization(self, merchant_id: str, number: int, *, is_sandbox: bool) -> Organization | None:
        """One of this merchant's, in this mode."""
        values = {"merchant": merchant_id, "number": number, "sandbox": is_sandbox}
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_ONE, values)).mappings().one_or_none()
        return None if row is None else msgspec.convert(row, Organization)
