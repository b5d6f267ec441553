"""What the parts of a dev system are told."""

from pathlib import Path

import pytest

from dev.layout import Ports
from dev.system import System
from domain.rate_limit import RateLimit
from runtime import settings as conf


def limit(system: System) -> RateLimit:
    told = conf.load(conf.RateLimits, environ=system.process_environment())[conf.RateLimits]
    return RateLimit(told.per_minute, told.burst)


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, RateLimit(6000, 6000)), ("60", RateLimit(60, 60)), ("0", RateLimit(0, 60))],
    ids=["generous", "as shipped", "none"],
)
def test_keys_are_limited_out_of_the_way_unless_the_developer_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, given: RateLimit
) -> None:
    monkeypatch.delenv("TOLEM_RATE_LIMIT_BURST", raising=False)
    monkeypatch.delenv("TOLEM_RATE_LIMIT_PER_MINUTE", raising=False)
    if asked is not None:
        monkeypatch.setenv("TOLEM_RATE_LIMIT_PER_MINUTE", asked)
    assert limit(System(tmp_path, Ports.free())) == given
