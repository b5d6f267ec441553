"""The hash of a row is a promise to everybody who keeps a head: it must never change."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from domain.audit import ActorKind, AuditRow, standing
from domain.audit_chain import GENESIS, canonical, link_hash

ROW = AuditRow(
    id="aud_1",
    merchant_id="mer_1",
    position=1,
    actor_kind=ActorKind.KEY,
    actor_id="key_1",
    action="invoice.created",
    object_type="invoice",
    object_id="inv_1",
    is_sandbox=False,
    created_at=datetime(2026, 11, 22, 6, 17, 33, 120456, tzinfo=UTC),
    previous_hash=GENESIS,
    hash=b"",
    after="processing",
    note="Әлі",
)


def test_the_hashed_text_is_the_documented_one() -> None:
    assert canonical(ROW) == (
        "13:tolem-audit-15:mer_11:15:aud_116:1795328253120456"
        "3:key5:key_115:invoice.created7:invoice5:inv_15:false~10:processing~6:Әлі"
    )
    assert link_hash(ROW).hex() == "8d9a2a0e0361151d9f65d48c3a27618016d471525947df92fa5033076dc31e89"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "aud_2"},
        {"merchant_id": "mer_2"},
        {"position": 2},
        {"actor_kind": ActorKind.OPERATOR},
        {"actor_id": "key_2"},
        {"action": "invoice.paid"},
        {"object_type": "refund"},
        {"object_id": "inv_2"},
        {"is_sandbox": True},
        {"created_at": datetime(2026, 11, 22, 6, 17, 33, 120457, tzinfo=UTC)},
        {"previous_hash": bytes(31) + b"\1"},
        {"before": ""},
        {"after": None},
        {"request_id": "req_1"},
        {"note": "Әл", "request_id": "і"},
        {"before": "processing", "after": None},
    ],
    ids=" ".join,
)
def test_no_field_can_change_without_the_hash(change: dict[str, Any]) -> None:
    assert link_hash(msgspec.structs.replace(ROW, **change)) != link_hash(ROW)


def test_a_standing_shows_the_state_and_why_somebody_must_look() -> None:
    assert standing("paid", None) == "paid"
    assert standing("paid", "paid_after_close") == "paid/paid_after_close"
