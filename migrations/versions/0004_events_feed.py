"""The events feed: what an event needs to be shown again, and an index that serves every filter of the feed.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BEFORE = "ix_events_merchant_id_created_at_id"
FEED = "ix_events_merchant_id_created_at_id_type_is_sandbox"


def upgrade() -> None:
    # Null for events from before this column, whose webhooks have it in their stored bodies only.
    op.add_column("events", sa.Column("previous_state", sa.Text(), nullable=True))
    op.create_index(FEED, "events", ["merchant_id", "created_at", "id", "type", "is_sandbox"])
    op.drop_index(BEFORE, table_name="events")


def downgrade() -> None:
    op.create_index(BEFORE, "events", ["merchant_id", "created_at", "id"])
    op.drop_index(FEED, table_name="events")
    op.drop_column("events", "previous_state")
