"""The settings of commands that speak to the API as a merchant does; part of runtime.settings, which has no room."""

from typing import Annotated, ClassVar

from runtime import env_parsers as parsers
from runtime.env import Env, Section
from runtime.secrets import Secret


class Client(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Commands that speak to the API"
    url: Annotated[
        str,
        Env(
            "TOLEM_API_URL",
            "where `tolem listen`, `tolem trigger` and `tolem events` find the API",
            parsers.origin,
            "http://127.0.0.1:8000",
        ),
    ]
    key: Annotated[
        Secret | None,
        Env("TOLEM_API_KEY", "the API key they use", parsers.secret(), secret=True, optional=True),
    ]
