"""What each method puts on the wire, byte for byte, and what it reads back."""

import ssl
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from kaspi.client import KaspiClient, Scheme
from kaspi.errors import KaspiError, KaspiNotFound, KaspiRefused, KaspiThrottled, KaspiUnavailable
from kaspi.results import LinkCreated, PaymentDetails, PaymentStatus, QrCreated, TradePoint
from tests.kaspi.conftest import API_KEY, BIN, ConfigFor
from tests.kaspi.rawbank import RawBank, Reply, Seen, answer, reset

PHONE = "77011234567"
ID = 12_800_000_001
HTML = "<html>no such page</html>"


def data(value: object) -> Reply:
    return answer(msgspec.json.encode({"StatusCode": 0, "Message": "OK", "Data": value}))


def sent(bank: RawBank) -> tuple[str, str, Any]:
    last = bank.seen[-1]
    return last.method, last.target, msgspec.json.decode(last.body) if last.body else None


async def test_headers(bank: RawBank, r3: KaspiClient, config_for: ConfigFor) -> None:
    bank.reply = answer('{"StatusCode":0}')
    await r3.ping()
    await r3.ping()
    async with KaspiClient(config_for(Scheme.R1, bank.url())) as r1:
        await r1.ping()
    ids = {request.headers["x-request-id"] for request in bank.seen}
    assert len(ids) == 3
    assert all(UUID(text).hex == text for text in ids)
    assert [request.headers.get("api-key") for request in bank.seen] == [None, None, API_KEY]
    assert bank.seen[0].headers["content-type"] == "application/json"
    assert bank.seen[0].headers["accept-encoding"] == "identity"


async def test_tradepoints(bank: RawBank, r3: KaspiClient, config_for: ConfigFor) -> None:
    bank.reply = data([{"TradePointId": 7, "TradePointName": "Дүкен"}, {"TradePointId": "8"}])
    assert await r3.tradepoints() == [TradePoint(7, "Дүкен"), TradePoint(8, "")]
    assert sent(bank) == ("GET", f"/r3/v01/partner/tradepoints/{BIN}", None)
    async with KaspiClient(config_for(Scheme.R1, bank.url())) as r1:
        await r1.tradepoints()
    assert sent(bank) == ("GET", "/r1/v01/partner/tradepoints", None)


async def test_devices(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = data({"DeviceToken": "2be4cc91"})
    assert await r3.register_device("till-1_A", 7) == "2be4cc91"
    body = {"DeviceId": "till-1_A", "TradePointId": 7, "OrganizationBin": BIN}
    assert sent(bank) == ("POST", "/r3/v01/device/register", body)

    bank.reply = answer('{"StatusCode":-1501}')
    await r3.delete_device("2be4cc91")
    body = {"DeviceToken": "2be4cc91", "OrganizationBin": BIN}
    assert sent(bank) == ("POST", "/r3/v01/device/delete", body)


QR = {
    "QrToken": "51236",
    "ExpireDate": "2025-10-22T17:10:50.717+05:00",
    "QrPaymentId": ID,
    "PaymentMethods": ["Gold", "Red", 5],
    "QrPaymentBehaviorOptions": {
        "StatusPollingInterval": 4,
        "QrCodeScanWaitTimeout": "170",
        "PaymentConfirmationTimeout": 60,
    },
}


async def test_qr(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = data(QR)
    created = await r3.create_qr("token", 10_050, "order 7")
    assert created == QrCreated(
        token="51236",
        payment_id=ID,
        expires_at=datetime(2025, 10, 22, 12, 10, 50, 717000, tzinfo=UTC),
        poll_interval=4,
        scan_timeout=170,
        confirm_timeout=60,
        methods=("Gold", "Red"),
    )
    assert sent(bank)[:2] == ("POST", "/r3/v01/qr/create")
    assert b'"Amount":100.50' in bank.seen[-1].body
    assert sent(bank)[2] == {
        "DeviceToken": "token",
        "Amount": 100.5,
        "ExternalId": "order 7",
        "OrganizationBin": BIN,
    }


async def test_what_r1_leaves_out(bank: RawBank, config_for: ConfigFor) -> None:
    bank.reply = data(QR)
    async with KaspiClient(config_for(Scheme.R1, bank.url(), organization_bin=BIN)) as r1:
        await r1.create_qr("token", 1)
    assert bank.seen[-1].body == b'{"DeviceToken":"token","Amount":0.01}'


async def test_link(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = data(
        {
            "PaymentLink": "https://pay.kaspi.kz/pay/1",
            "ExpireDate": "2021-12-08T11:35:48.1566667",
            "PaymentId": str(ID),
            "PaymentMethods": ["Loan"],
            "PaymentBehaviorOptions": {
                "StatusPollingInterval": 6,
                "LinkActivationWaitTimeout": 120,
                "PaymentConfirmationTimeout": 50,
            },
        }
    )
    assert await r3.create_link("token", 9_999_999_999) == LinkCreated(
        link="https://pay.kaspi.kz/pay/1",
        payment_id=ID,
        expires_at=datetime(2021, 12, 8, 5, 35, 48, 156666, tzinfo=UTC),
        poll_interval=6,
        scan_timeout=120,
        confirm_timeout=50,
        methods=("Loan",),
    )
    assert sent(bank)[:2] == ("POST", "/r3/v01/qr/create-link")
    assert b'"Amount":99999999.99' in bank.seen[-1].body


@pytest.mark.parametrize("odd", [{}, {"ExpireDate": "soon", "PaymentMethods": "Gold", "QrPaymentBehaviorOptions": []}])
async def test_what_a_create_can_do_without(bank: RawBank, r3: KaspiClient, odd: dict[str, object]) -> None:
    bank.reply = data({"QrToken": "x", "QrPaymentId": ID} | odd)
    created = await r3.create_qr("token", 1)
    assert (created.expires_at, created.methods) == (None, ())
    assert (created.poll_interval, created.scan_timeout, created.confirm_timeout) == (5, 180, 65)


@pytest.mark.parametrize(
    "gap", [{"QrToken": ""}, {"QrToken": None}, {"QrPaymentId": 0}, {"QrPaymentId": 2**63}, {"QrPaymentId": "x"}]
)
async def test_what_it_cannot(bank: RawBank, r3: KaspiClient, gap: dict[str, object]) -> None:
    bank.reply = data(QR | gap)
    with pytest.raises(KaspiUnavailable, match="unreadable_answer"):
        await r3.create_qr("token", 1)


async def test_remote(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = data({"QrPaymentId": str(ID)})
    assert await r3.create_remote("token", 1_000_000, PHONE, "Order 7 · ref") == ID
    assert sent(bank) == (
        "POST",
        "/r3/v01/remote/create",
        {
            "OrganizationBin": BIN,
            "Amount": 10000.0,
            "PhoneNumber": "87011234567",
            "DeviceToken": "token",
            "Comment": "Order 7 · ref",
        },
    )
    bank.reply = data({"Status": "RemotePaymentCanceled"})
    assert await r3.cancel_remote("token", ID) == "RemotePaymentCanceled"
    body = {"OrganizationBin": BIN, "QrPaymentId": ID, "DeviceToken": "token"}
    assert sent(bank) == ("POST", "/r3/v01/remote/cancel", body)


async def test_client_info(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = data({"ClientName": "Айгүл С."})
    assert await r3.client_info(PHONE, "token") == "Айгүл С."
    assert sent(bank) == ("GET", "/r3/v01/remote/client-info?phoneNumber=87011234567&deviceToken=token", None)
    bank.reply = answer('{"StatusCode":-999}')
    with pytest.raises(KaspiThrottled):
        await r3.client_info(PHONE, "token")


async def test_details_and_refund(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = answer(
        '{"StatusCode":0,"Data":{"QrPaymentId":1,"TotalAmount":100.10,"AvailableReturnAmount":"0",'
        '"TransactionDate":"2025-10-22T17:10:50+05"}}'
    )
    at = datetime(2025, 10, 22, 12, 10, 50, tzinfo=UTC)
    assert await r3.payment_details("token", ID) == PaymentDetails(total=10_010, available=0, at=at)
    assert sent(bank) == ("GET", f"/r3/v01/payment/details?QrPaymentId={ID}&DeviceToken=token", None)

    bank.reply = data({"ReturnOperationId": 5})
    assert await r3.return_payment("token", ID, 10_010) == 5
    body = {"DeviceToken": "token", "OrganizationBin": BIN, "QrPaymentId": ID, "Amount": 100.1}
    assert sent(bank) == ("POST", "/r3/v01/payment/return", body)


@pytest.mark.parametrize("sums", ["100.001,1", "100,-1", '100,"1 000"', "100,null", "NaN,1", '"NaN",1', "1e999999,1"])
async def test_inexact_sums_are_no_details(bank: RawBank, r3: KaspiClient, sums: str) -> None:
    total, available = sums.split(",")
    bank.reply = answer(f'{{"StatusCode":0,"Data":{{"TotalAmount":{total},"AvailableReturnAmount":{available}}}}}')
    with pytest.raises(KaspiUnavailable, match="unreadable_answer"):
        await r3.payment_details("token", ID)


@pytest.mark.parametrize(
    ("more", "amount"),
    [
        ("", None),
        (',"Amount":100.50', 10_050),
        (',"Amount":"100.50"', 10_050),
        (',"Amount":null', None),
        (',"Amount":"10 000 ₸"', None),
        (',"Amount":100.001', None),
        (',"Amount":{},"LoanTerm":"12","IsOffer":"maybe"', None),
    ],
)
async def test_status_v02(bank: RawBank, r3: KaspiClient, more: str, amount: int | None) -> None:
    bank.reply = answer(
        f'{{"StatusCode":0,"Data":{{"Status":"Processed","TransactionId":77,"ProductType":"Gold"{more}}}}}'
    )
    status = await r3.payment_status(ID)
    assert status == PaymentStatus(word="Processed", amount=amount, transaction_id="77", product_type="Gold")
    assert sent(bank) == ("GET", f"/r3/v02/payment/status/{ID}", None)


def versions(replies: dict[str, Reply]) -> Reply:
    async def reply(request: Seen) -> None:
        await replies["v02" if "/v02/" in request.target else "v01"](request)

    return reply


def asked(bank: RawBank) -> list[str]:
    return [request.target.split("/")[2] for request in bank.seen]


@pytest.mark.parametrize(
    "gone", [answer(HTML, "404 Not Found", "text/html"), answer("", "405 No"), answer("{}", "400 Bad")]
)
async def test_a_bank_without_v02_is_asked_for_v01_and_remembered(bank: RawBank, r3: KaspiClient, gone: Reply) -> None:
    bank.reply = versions({"v02": gone, "v01": data({"Status": "Wait"})})
    for _ in range(2):
        assert await r3.payment_status(ID) == PaymentStatus(word="Wait")
    assert asked(bank) == ["v02", "v01", "v01"]
    r3._v01_until = 0.0  # as after an hour
    bank.reply = data({"Status": "Processed", "Amount": 1})
    assert await r3.payment_status(ID) == PaymentStatus(word="Processed", amount=100)


@pytest.mark.parametrize("odd", [answer(""), answer('{"StatusCode":0,"Data":{}}'), answer('{"StatusCode":-1601}')])
async def test_an_odd_v02_answer_is_checked_with_v01_but_not_remembered(
    bank: RawBank, r3: KaspiClient, odd: Reply
) -> None:
    bank.reply = versions({"v02": odd, "v01": data({"Status": "Processed"})})
    for _ in range(2):
        assert (await r3.payment_status(ID)).word == "Processed"
    assert asked(bank) == ["v02", "v01", "v02", "v01"]


async def test_an_absent_purchase_is_absent_in_both(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = answer('{"StatusCode":-1601}')
    with pytest.raises(KaspiNotFound):
        await r3.payment_status(ID)
    assert asked(bank) == ["v02", "v01"]


@pytest.mark.parametrize(
    "trouble", [answer("", "429 Slow"), answer(HTML), answer('{"StatusCode":-999}'), answer("", "503 Busy"), reset]
)
async def test_a_troubled_bank_is_not_asked_twice(bank: RawBank, r3: KaspiClient, trouble: Reply) -> None:
    bank.reply = trouble
    with pytest.raises(KaspiUnavailable):
        await r3.payment_status(ID)
    assert asked(bank) == ["v02"]


async def test_schemes_that_cannot_are_refused_before_any_io(
    config_for: ConfigFor, bank: RawBank, r3_tls: ssl.SSLContext
) -> None:
    for scheme in (Scheme.R1, Scheme.R2):
        async with KaspiClient(config_for(scheme, bank.url(scheme.value)), tls=r3_tls) as client:
            for act in (
                client.create_remote("token", 1, PHONE, ""),
                client.cancel_remote("token", ID),
                client.client_info(PHONE, "token"),
                client.return_payment("token", ID, 1),
                *([client.payment_details("token", ID)] if scheme is Scheme.R1 else []),
            ):
                with pytest.raises(KaspiRefused) as caught:
                    await act
                assert caught.value.reason == "scheme_unsupported"
    assert bank.connections == 0


async def test_arguments_that_cannot_be_sent_are_refused_before_any_io(bank: RawBank, r3: KaspiClient) -> None:
    for act, reason in (
        (r3.create_remote("token", 0, PHONE, ""), "bad_amount"),
        (r3.create_qr("token", -5), "bad_amount"),
        (r3.create_link("token", 10**10), "bad_amount"),
        (r3.return_payment("token", ID, 0), "bad_amount"),
        (r3.create_remote("token", 1, "87011234567", ""), "bad_phone"),
        (r3.create_remote("token", 1, "7701123456７", ""), "bad_phone"),
        (r3.client_info("+77011234567", "token"), "bad_phone"),
        (r3.register_device("касса", 1), "bad_device_id"),
    ):
        with pytest.raises(KaspiError) as caught:
            await act
        assert (type(caught.value), caught.value.reason) == (KaspiRefused, reason)
    assert bank.connections == 0


async def test_no_float_touches_money(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = data(QR)
    for tiyn in (1, 10, 110, 29, 1_000_001, 9_007_199_254, 9_999_999_999):
        await r3.create_qr("token", tiyn)
        number = msgspec.json.decode(bank.seen[-1].body, type=dict[str, msgspec.Raw])["Amount"]
        assert Decimal(bytes(number).decode()) * 100 == tiyn
