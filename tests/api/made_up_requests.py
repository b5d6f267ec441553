"""Schemathesis: requests made up from a description, and answers judged by it."""

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from tests.support.shop import Shop

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
# The published documents list no 401, 422 or 429 on most operations, though their prose has them on all: statuses are
# judged by our own descriptions, which test_description and test_apipay_description compare with the published ones.
PUBLISHED_CHECKS = ("not_a_server_error", "content_type_conformance", "response_schema_conformance")

EVERY_PHASE = ("--phases", "examples,coverage,fuzzing")
# The phase "coverage" leaves out bodies that are required.
WITH_BODY = ("--phases", "examples,fuzzing")
_SIZED = ("--max-examples", "4", "--seed", "42", "--continue-on-failure")
# A busy machine is no fault of the API's: neither a request that takes long nor slowly made up data.
_PATIENT = ("--request-timeout", "60", "--suppress-health-check", "too_slow")


def key_of(shop: Shop) -> tuple[str, str]:
    """The words that make it speak with the shop's test key."""
    return "--header", f"X-API-Key: {shop.test.headers['x-api-key']}"


async def made_up_requests(folder: Path, *words: str) -> str:
    """What `schemathesis run` said, which must have found nothing."""
    program = Path(sys.executable).with_name("schemathesis")
    done = await create_subprocess_exec(
        *(str(program), "run", *words, *_SIZED, *_PATIENT, "--no-color", "--warnings", "off"),
        cwd=folder,
        stdout=PIPE,
        stderr=STDOUT,
    )
    said = (await done.communicate())[0].decode()
    assert done.returncode == 0, said
    return said
