"""The watchdog looks at everything that is alive every minute: small indexes of that, and of nothing that is over.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LIVE = {
    "ix_invoices_live": ("invoices", "state in ('processing', 'pending') or attention is not null"),
    "ix_refunds_live": ("refunds", "state in ('pending', 'processing')"),
    "ix_deliveries_pending": ("deliveries", "state = 'pending'"),
}


def upgrade() -> None:
    for name, (table, condition) in LIVE.items():
        op.create_index(name, table, ["id"], postgresql_where=sa.text(condition))


def downgrade() -> None:
    for name, (table, _) in LIVE.items():
        op.drop_index(name, table_name=table)
