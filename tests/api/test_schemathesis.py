"""Made-up requests against v1, judged by the description the API gives of itself and by the published one."""

import json
from pathlib import Path
from typing import Any

import pytest

from dev.migrations import ROOT
from tests.api.made_up_requests import CHECKS, EVERY_PHASE, PUBLISHED_CHECKS, key_of, made_up_requests
from tests.support.shop import Shop
from tests.support.stack import Stack

# Some thousand requests: a machine that is busy with other things takes minutes for them.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900), pytest.mark.long]

PUBLISHED = (ROOT / "../shared/contracts/arzan-openapi.json").resolve()
# An answer without an end can't be waited for; tests/api/test_event_stream.py asks it the wrong questions instead.
ENDLESS = "streamEvents"


def operations(document: dict[str, Any]) -> int:
    methods = {"get", "post", "put", "patch", "delete"}
    return sum(method in methods for item in document["paths"].values() for method in item)


async def test_made_up_requests_break_nothing_on_any_operation(stack: Stack, played_with: Shop, tmp_path: Path) -> None:
    url = f"{stack.system.api_url}/api/docs/openapi.json"
    asked = (url, *key_of(played_with), "--checks", ",".join(CHECKS), *EVERY_PHASE)
    said = await made_up_requests(tmp_path, *asked, "--exclude-operation-id", ENDLESS)
    known = operations((await played_with.test.get(url)).json())
    assert f"Operations:       {known - 1} selected / {known} total" in said
    assert f"Tested: {known - 1}" in said


async def test_the_published_description_is_kept(stack: Stack, played_with: Shop, tmp_path: Path) -> None:
    if not PUBLISHED.exists():
        pytest.skip("THE PUBLISHED CONTRACT WAS NOT THE JUDGE: it is not beside the repository")

    async def bills() -> int:
        total: int = (await played_with.test.get("/api/v1/invoices")).json()["total"]
        return total

    before = await bills()
    where = (str(PUBLISHED), "--url", f"{stack.system.api_url}/api")
    asked = (*where, *key_of(played_with), "--checks", ",".join(PUBLISHED_CHECKS), *EVERY_PHASE)
    said = await made_up_requests(tmp_path, *asked)
    known = operations(json.loads(PUBLISHED.read_text()))
    assert known == 25
    assert f"Tested: {known}" in said
    # The one answer that the document has a schema for was given and judged.
    assert await bills() > before
