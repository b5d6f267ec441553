"""What other people's libraries say of 1,000 real requests, and of every bit that is changed on the way."""

import asyncio
import base64
import json
import random
import re
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.webhooks import node
from tests.webhooks.receivers import Receiver, answers, status
from webhooks.errors import SignatureMismatch
from webhooks.guard import EgressRules
from webhooks.sender import Sender
from webhooks.signing import new_secret, new_signing_key, sign, verify

pytestmark = pytest.mark.long

PAYLOADS = 1000
# Of so many requests every single bit is changed, of each other one bit in each of its parts.
WHOLE = 2
STANDARD = ("python", "ours", "standardwebhooks", "openai")
SIGNED_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
WORDS = [
    "Әлия", "Қайрат", "Өмір", "Үміт", "Ұлан", "Ғазиз", "Іңкәр", "Һарун", "теңге", "төлем", "шот №5", "Алматы қ.",
    "Счёт", "оплачен", "возврат", "ёлка", "ЦУМ «Қазақстан»", "🧾", "💳", "👨‍👩‍👧‍👦", "🇰🇿", "✅️", "🤷🏽‍♀️", "𝔗𝔬𝔩𝔢𝔪",
    "é", "e\u0301", "\u200d", "\u2028", '"', "\\", "/", "a.b", "</script>", "%41", "１２７", "\ufeff",
]  # fmt: skip


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrived; `spoiled` names what was changed on the way, None for nothing."""

    secret: str
    public_key: str
    headers: dict[str, str]
    body: bytes
    spoiled: str | None = None

    def line(self) -> str:
        """For the JavaScript side."""
        shown = {"secret": self.secret, "public_key": self.public_key, "headers": self.headers}
        return json.dumps(shown | {"body": base64.b64encode(self.body).decode()})


def payload(chance: random.Random, words: int) -> bytes:
    body = {
        "type": "invoice.status_changed",
        "data": {
            "customer": " ".join(chance.choices(WORDS, k=words)),
            "amount": f"{chance.randint(1, 99_999_999)}.00",
            chance.choice(WORDS): chance.choices(WORDS, k=2),
        },
    }
    return json.dumps(body, ensure_ascii=chance.random() < 0.1, separators=(",", ":")).encode()


async def arrived(chance: random.Random, sent_at: datetime, count: int) -> list[Request]:
    """Really sent, and taken as the receiver's socket gave them."""
    sent: dict[str, tuple[str, str]] = {}

    async def deliver(sender: Sender, url: str, number: int) -> None:
        secrets, (private, public) = [new_secret() for _ in range(chance.randint(1, 3))], new_signing_key()
        event_id, body = f"evt_{number}", payload(chance, 3 if number < WHOLE else chance.randint(1, 40))
        # Its oldest secret is the one that checks both forms.
        sent[event_id] = secrets[-1], public
        assert (await sender.send(url, sign(secrets, event_id, sent_at, body, signing_key=private), body)).delivered

    async with (
        Receiver(answers(status(200))) as receiver,
        Sender(EgressRules(allowed_hosts=frozenset({receiver.place})), max_in_flight=8) as sender,
    ):
        await asyncio.gather(*(deliver(sender, receiver.url, number) for number in range(count)))
    found = []
    for head, body in receiver.requests:
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        headers = {name: headers[name] for name in (*SIGNED_HEADERS, "X-Webhook-Signature")}
        secret, public = sent[headers["webhook-id"]]
        found.append(Request(secret=secret, public_key=public, headers=headers, body=body))
    return sorted(found, key=lambda one: int(one.headers["webhook-id"].removeprefix("evt_")))


def alone(request: Request, version: str) -> Request:
    """The request with the one signature of `version` that its key checks; a changed other one proves nothing."""
    kept = [one for one in request.headers["webhook-signature"].split(" ") if one.startswith(f"{version},")][-1]
    return msgspec.structs.replace(request, headers=request.headers | {"webhook-signature": kept})


def changed(request: Request, chance: random.Random, *, every_bit: bool) -> Iterator[Request]:
    parts = {"body": request.body} | {name: value.encode() for name, value in request.headers.items()}
    for name, value in parts.items():
        bits = range(len(value) * 8)
        for bit in bits if every_bit else [chance.choice(bits)]:
            wrong = bytearray(value)
            wrong[bit // 8] ^= 1 << bit % 8
            if name == "body":
                yield msgspec.structs.replace(request, body=bytes(wrong), spoiled=name)
            elif bit % 8 < 7:  # a header with the eighth bit set is no ASCII any more
                headers = request.headers | {name: wrong.decode()}
                yield msgspec.structs.replace(request, headers=headers, spoiled=name)


def python_says(request: Request) -> bool:
    try:
        Webhook(request.secret).verify(request.body, request.headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


def we_say(key: str, request: Request) -> bool:
    try:
        verify(key, request.headers, request.body, datetime.now(UTC), timedelta(minutes=5))
    except SignatureMismatch:
        return False
    return True


def javascript_says(interpreter: str, requests: list[Request], *verifiers: str) -> list[dict[str, bool]]:
    done = subprocess.run(
        [interpreter, "verify.mjs", *verifiers],
        cwd=node.PACKAGE, input="\n".join(one.line() for one in requests), capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdicts(interpreter: str, requests: list[Request]) -> list[dict[str, bool]]:
    """What everybody says, ourselves included, one dict per request."""
    found: list[dict[str, Any]] = deepcopy(javascript_says(interpreter, requests))
    for request, said in zip(requests, found, strict=True):
        said["python"] = python_says(request)
        said["ours"] = we_say(request.secret, request)
        said["our v1a"] = we_say(request.public_key, request)
    return found


def same_signature(one: Request, other: Request) -> bool:
    """Base64 has several spellings of the same bytes: idle bits in its last character, and padding some do without.

    Libraries that compare bytes take them all, those that compare texts don't; nothing that is signed has changed.
    """
    read = [_leniently(each.headers["webhook-signature"]) for each in (one, other)]
    return read[0] == read[1]


def _leniently(signature: str) -> bytes | None:
    text = re.sub(r"[^A-Za-z0-9+/]", "", signature.removeprefix("v1,"))
    return base64.b64decode(text + "=") if signature.startswith("v1,") and len(text) % 4 == 3 else None


@pytest.fixture(scope="module")
def interpreter() -> str:
    return node.node()


@pytest.fixture(scope="module")
async def requests() -> list[Request]:
    return await arrived(random.Random(20261122), datetime.now(UTC), PAYLOADS)


def test_a_thousand_requests_are_verified_by_every_library(interpreter: str, requests: list[Request]) -> None:
    assert len(requests) == PAYLOADS
    together = b"".join(one.body for one in requests).decode()
    assert all(letter in together for letter in "ӘҚӨҮҰҒІҺңәё🧾🇰🇿")
    for request, said in zip(requests, verdicts(interpreter, requests), strict=True):
        assert said == dict.fromkeys((*STANDARD, "octokit", "ed25519", "our v1a"), True), request.body.decode()


def test_every_single_bit_that_is_changed_is_refused(interpreter: str, requests: list[Request]) -> None:
    chance = random.Random(7)
    whole = [alone(one, "v1") for one in requests]
    spoiled = [
        (one, wrong)
        for number, one in enumerate(whole)
        for wrong in changed(one, chance, every_bit=number < WHOLE)
    ]  # fmt: skip
    assert len(spoiled) > 4 * PAYLOADS
    said = verdicts(interpreter, [wrong for _, wrong in spoiled])
    other_spellings = 0
    for (one, wrong), verdict in zip(spoiled, said, strict=True):
        if wrong.spoiled == "X-Webhook-Signature":
            assert not verdict["octokit"], wrong.headers
            continue
        refusing = [*STANDARD, *(["octokit"] if wrong.spoiled == "body" else [])]
        if wrong.spoiled == "webhook-signature" and same_signature(wrong, one):
            other_spellings += 1
            refusing = ["ours", "standardwebhooks"]
        assert [name for name in refusing if verdict[name]] == [], (wrong.spoiled, wrong.headers, wrong.body)
    # Few bits of a signature, so few requests.
    assert other_spellings <= 10 * WHOLE + PAYLOADS // 20


def test_every_single_bit_that_is_changed_is_refused_by_v1a(interpreter: str, requests: list[Request]) -> None:
    one = alone(requests[0], "v1a")
    assert we_say(one.public_key, one)
    assert javascript_says(interpreter, [one], "ed25519") == [{"ed25519": True}]
    bits = changed(one, random.Random(7), every_bit=True)
    spoiled = [wrong for wrong in bits if wrong.spoiled != "X-Webhook-Signature"]
    for wrong, said in zip(spoiled, javascript_says(interpreter, spoiled, "ed25519"), strict=True):
        assert not we_say(wrong.public_key, wrong), wrong.headers
        if wrong.spoiled != "webhook-signature":  # whose last character Node reads leniently, as above
            assert not said["ed25519"], (wrong.headers, wrong.body)


@pytest.mark.parametrize("away", [timedelta(minutes=-6), timedelta(minutes=6), timedelta(days=-1), timedelta(days=1)])
async def test_old_and_future_times_are_refused_by_every_library(interpreter: str, away: timedelta) -> None:
    stale = await arrived(random.Random(1), datetime.now(UTC) + away, 5)
    for said in verdicts(interpreter, stale):
        assert [name for name in (*STANDARD, "ed25519", "our v1a") if said[name]] == []
        # The older form has no time in it: docs/webhook-signatures.md says so.
        assert said["octokit"]


def test_another_secret_or_key_is_refused(interpreter: str, requests: list[Request]) -> None:
    strangers = [
        msgspec.structs.replace(one, secret=new_secret(), public_key=new_signing_key()[1]) for one in requests[:20]
    ]
    for said in verdicts(interpreter, strangers):
        assert not any(said.values())
