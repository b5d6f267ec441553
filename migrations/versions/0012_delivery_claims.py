"""Deliveries: whose attempt is being made, because two workers must not make one each.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("claimed_by", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_deliveries_claim"), "deliveries", "(claimed_by is null) = (claimed_until is null)"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_deliveries_claim"), "deliveries", type_="check")
    op.drop_column("deliveries", "claimed_until")
    op.drop_column("deliveries", "claimed_by")
