"""The list of the sandbox's magic values."""

from litestar import get

from api.v1.responses import errors
from contracts.v1_scenarios import ScenarioListJson, scenarios
from domain.merchant import Principal


@get(
    "/sandbox/scenarios",
    tags=["Sandbox"],
    summary="List the sandbox's magic values",
    description="The last four digits of a sandbox invoice's phone, or the exact amount of a sandbox QR or link, choose"
    " an outcome. Live objects know none of them.",
    operation_id="listScenarios",
    responses=errors(401, 503),
)
async def list_scenarios(principal: Principal) -> ScenarioListJson:
    """GET /v1/sandbox/scenarios."""
    return scenarios()
