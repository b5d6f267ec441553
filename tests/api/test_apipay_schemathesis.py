"""Made-up requests against the ApiPay contract, judged by its own description and by the published one."""

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from dev.migrations import ROOT
from tests.api.test_schemathesis import CHECKS
from tests.support.shop import Shop
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

PUBLISHED = (ROOT / "../shared/contracts/apipay-v1.openapi.yaml").resolve()
SIZED = ("--max-examples", "4", "--seed", "42", "--phases", "examples,coverage,fuzzing", "--continue-on-failure")
# The published document lists no 401, 422 or 429 on most operations, though its prose has them on all: statuses are
# judged by our own description, which is compared with the published one (test_apipay_description.py).
PUBLISHED_CHECKS = ("not_a_server_error", "content_type_conformance", "response_schema_conformance")
# Without a body this address is v1's, and answers 200.
SHARED = "verifyOrganization"


async def schemathesis(folder: Path, *words: str) -> str:
    program = Path(sys.executable).with_name("schemathesis")
    done = await create_subprocess_exec(
        *(str(program), "run", *words, *SIZED, "--no-color", "--warnings", "off"),
        cwd=folder,
        stdout=PIPE,
        stderr=STDOUT,
    )
    said = (await done.communicate())[0].decode()
    assert done.returncode == 0, said
    return said


async def test_its_own_description_is_kept(stack: Stack, played_with: Shop, tmp_path: Path) -> None:
    key = f"X-API-Key: {played_with.test.headers['x-api-key']}"
    url = f"{stack.system.api_url}/api/docs/apipay/openapi.json"
    checks = ",".join(CHECKS)
    said = await schemathesis(tmp_path, url, "--header", key, "--checks", checks, "--exclude-operation-id", SHARED)
    assert "Tested: 18" in said
    less = ",".join(one for one in CHECKS if one not in {"negative_data_rejection", "ignored_auth"})
    said = await schemathesis(tmp_path, url, "--header", key, "--checks", less, "--include-operation-id", SHARED)
    assert "Tested: 1" in said


async def test_the_published_description_is_kept(stack: Stack, played_with: Shop, tmp_path: Path) -> None:
    if not PUBLISHED.exists():
        pytest.skip("THE PUBLISHED CONTRACT WAS NOT THE JUDGE: it is not beside the repository")
    key = f"X-API-Key: {played_with.test.headers['x-api-key']}"
    said = await schemathesis(
        tmp_path,
        *(str(PUBLISHED), "--url", f"{stack.system.api_url}/api", "--header", key),
        *("--checks", ",".join(PUBLISHED_CHECKS)),
    )
    assert "Tested: 19" in said
