"""Made-up requests against the description the API gives of itself."""

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.support.shop import Shop
from tests.support.stack import Stack

# Some thousand requests: a machine that is busy with other things takes minutes for them.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

# All checks but two. `positive_data_acceptance`: a body that fits the schema may still be refused (a phone that is no
# Kazakh mobile, a key that was used). `allow_header_conformance`: the framework's own answer to OPTIONS.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
)

# An answer without an end can't be waited for; tests/api/test_event_stream.py asks it the wrong questions instead.
ENDLESS = "streamEvents"


async def test_made_up_requests_break_nothing_on_any_operation(stack: Stack, played_with: Shop, tmp_path: Path) -> None:
    key = played_with.test.headers["x-api-key"]
    program = Path(sys.executable).with_name("schemathesis")
    url = f"{stack.system.api_url}/api/docs/openapi.json"
    sized = ("--max-examples", "4", "--seed", "42", "--phases", "examples,coverage,fuzzing", "--continue-on-failure")
    done = await create_subprocess_exec(
        *(str(program), "run", url, "--header", f"X-API-Key: {key}", "--checks", ",".join(CHECKS), *sized),
        *("--no-color", "--warnings", "off", "--exclude-operation-id", ENDLESS),
        cwd=tmp_path,
        stdout=PIPE,
        stderr=STDOUT,
    )
    said = (await done.communicate())[0].decode()
    assert done.returncode == 0, said
    paths = (await played_with.test.get(url)).json()["paths"]
    operations = sum(method in {"get", "post", "put", "patch", "delete"} for item in paths.values() for method in item)
    assert f"Operations:       {operations - 1} selected / {operations} total" in said
    assert f"Tested: {operations - 1}" in said
