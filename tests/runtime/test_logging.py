import json
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

PRELUDE = """
import asyncio, logging, sys, threading, warnings
import structlog
from runtime.logging import configure
configure({level!r}, {format!r}, "worker")
log = structlog.get_logger("room")
"""


def run(script: str, *, level: str = "info", format: str = "json") -> str:  # noqa: A002 - as configure names it
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE.format(level=level, format=format) + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done.stderr


def events(script: str, **options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(script, **options).splitlines()]


def test_both_worlds_give_one_json_line_an_event() -> None:
    ours, theirs = events(
        'log.info("invoice issued", invoice="inv_1", amount=150000)\n'
        'logging.getLogger("lib").warning("slow %s", "disk")'
    )
    assert ours["event"] == "invoice issued"
    assert (ours["invoice"], ours["amount"]) == ("inv_1", 150000)
    assert (ours["level"], ours["logger"], ours["process"]) == ("info", "room", "worker")
    assert datetime.fromisoformat(ours["timestamp"]).utcoffset() == timedelta(0)
    assert theirs["event"] == "slow disk"
    assert (theirs["level"], theirs["logger"], theirs["process"]) == ("warning", "lib", "worker")


def test_context_variables_stay_in_their_task() -> None:
    found = events("""
async def handle(request):
    structlog.contextvars.bind_contextvars(request_id=request)
    await asyncio.sleep(0)
    logging.getLogger("lib").warning("served")
async def main():
    await asyncio.gather(*(asyncio.create_task(handle(name)) for name in ("a", "b")))
    log.info("done")
asyncio.run(main())
""")
    assert [event.get("request_id") for event in found] == ["a", "b", None]


SECRETS = ("77011234567", "+7 701 123 45 67", "Q" * 38, "MfKQ9r8GKYqr", "hunter2", "Айгуль", "plain-old-key", "t0ken")
LEAKY = """
key = "tk_live_" + "Q" * 38
log.info("for 77011234567", text=f"{key} whsec_MfKQ9r8GKYqr", url="postgresql://app:hunter2@db/tolem")
log.info("fields", phone=77011234567, client_name="Айгуль", device_token="t0ken", number=77011234567)
log.info("headers", headers={"X-API-Key": "plain-old-key"}, raw=[(b"authorization", b"Bearer plain-old-key")])
log.info("deep", a=[{"b": {"phone": "77011234567"}, "c": ("x", "call +7 701 123 45 67 or 77011234567")}])
structlog.contextvars.bind_contextvars(who="77011234567")
logging.getLogger("lib").warning("args %s %r", "77011234567", {"password": "hunter2", "x-api-key": "plain-old-key"})
log.bind(bound="77011234567").warning("bound")
try:
    try:
        raise KeyError(f"inner {key} for 77011234567")
    except KeyError as inner:
        raise RuntimeError("outer X-API-Key: plain-old-key postgresql://app:hunter2@db/tolem") from inner
except RuntimeError as error:
    error.add_note("whsec_MfKQ9r8GKYqr")
    log.exception("failed")
    logging.getLogger("lib").exception("failed too")
    log.error("as a field", error=error)
warnings.warn("about 77011234567")
def die():
    raise RuntimeError("thread 77011234567")
thread = threading.Thread(target=die)
thread.start()
thread.join()
raise SystemError("uncaught 77011234567 postgresql://app:hunter2@db/tolem")
"""


@pytest.mark.parametrize("format_", ["json", "console"])
def test_nothing_private_gets_out_of_any_door(format_: str) -> None:
    output = run(LEAKY, format=format_)
    for secret in SECRETS:
        assert secret not in output
    # The doors were really used: each left its event, the tracebacks too.
    for said in ("for [phone]", "fields", "headers", "deep", "args", "bound", "failed too", "as a field"):
        assert said in output
    for said in ("about [phone]", "thread [phone]", "uncaught [phone]", "inner tk_live_", "KeyError"):
        assert said in output


def test_a_line_break_in_text_does_not_fake_an_event() -> None:
    attack = r'log.info("ok\n2026-11-22T00:00:00Z [info] paid", given="a\nb")'
    assert len(run(attack, format="json").splitlines()) == 1
    assert len(run(attack, format="console").splitlines()) == 1


def test_levels_and_chatty_libraries() -> None:
    script = """
log.debug("no")
log.info("no")
logging.getLogger("httpx").info("HTTP Request: GET https://bank/x?phoneNumber=77011234567")
log.warning("yes")
"""
    assert [event["event"] for event in events(script, level="warning")] == ["yes"]
    assert [event["event"] for event in events(script, level="debug")] == ["no", "no", "yes"]


def test_a_record_that_cannot_be_written_leaks_nothing() -> None:
    output = run('logging.getLogger("lib").warning("%d rows", "77011234567")\nlog.info("after")')
    lost, after = output.splitlines()
    assert lost.startswith("log record of lib at ")
    assert "77011234567" not in output
    assert json.loads(after)["event"] == "after"


def test_configuring_twice_does_not_double_events() -> None:
    assert len(events('configure("info", "json", "api")\nlog.info("once")')) == 1


def test_an_unknown_level_is_an_error() -> None:
    assert "KeyError" in run("configure('loud', 'json', 'x')")
