"""Typed settings out of environment variables: declared once, checked all at once, described for people."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

import msgspec

PREFIX = "TOLEM_"
FILE_SUFFIX = "_FILE"


class Env(msgspec.Struct, frozen=True):
    """Metadata of a section's field: ``Annotated[int, Env("TOLEM_X", "what it sets", whole(1, 9))]``.

    The default is text in the variable's own spelling, so that `describe` shows what one would write;
    `None` means required, unless `optional`, which gives `None`. A secret never has a default.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    default: str | None = None
    secret: bool = False
    optional: bool = False


class Problem(msgspec.Struct, frozen=True):
    """One wrong variable and how to fix it; the text of a secret never stands in `advice`."""

    name: str
    advice: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of a group of settings that a process either needs or not."""

    title: ClassVar[str] = ""

    def problems(self) -> Sequence[Problem]:
        """What is wrong between fields that are each right."""
        return ()


class Row(msgspec.Struct, frozen=True):
    """One line of the settings' documentation; `default` is shown text such as ``8000`` or ``(required)``."""

    section: str
    name: str
    default: str
    help: str


class SettingsError(Exception):
    """Every problem at once, one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = (f"  {problem.name}: {problem.advice}" for problem in self.problems)
        super().__init__("\n".join(["These settings need attention:", *lines]))


S = TypeVar("S", bound=Section)


class Settings:
    """Loaded sections, looked up by their type: ``settings[Database].pool``."""

    def __init__(self, sections: Mapping[type[Section], Section]) -> None:
        self._sections = dict(sections)

    def __getitem__(self, section: type[S]) -> S:
        return cast("S", self._sections[section])

    def __repr__(self) -> str:
        return f"Settings({', '.join(section.__name__ for section in self._sections)})"


class Loader:
    """Reads sections from an environment; `known` are all sections of the system, so that a typo stands out."""

    def __init__(self, known: Sequence[type[Section]]) -> None:
        self._known = tuple(known)

    def load(self, environ: Mapping[str, str], *sections: type[Section]) -> Settings:
        """`SettingsError` names every missing, malformed, contradicting or unknown ``TOLEM_*`` variable."""
        problems = list(self._unknown(environ))
        loaded: dict[type[Section], Section] = {}
        for section in dict.fromkeys(sections):
            before = len(problems)
            values = {field: _read(environ, env, problems) for field, env in _fields(section)}
            if len(problems) == before:
                loaded[section] = section(**values)
                problems += loaded[section].problems()
        if problems:
            raise SettingsError(problems)
        return Settings(loaded)

    def describe(self) -> list[Row]:
        """All settings in the order of their declaration."""
        return [
            Row(section.title, env.name, _shown_default(env), env.help)
            for section in self._known
            for _, env in _fields(section)
        ]

    def _unknown(self, environ: Mapping[str, str]) -> Iterator[Problem]:
        every = [env for section in self._known for _, env in _fields(section)]
        plain = {env.name for env in every}
        files = {env.name + FILE_SUFFIX for env in every if env.secret}
        for name in sorted(environ):
            if not name.startswith(PREFIX) or name in plain or name in files:
                continue
            if name.removesuffix(FILE_SUFFIX) in plain:
                yield Problem(name, f"only secrets come from files; set {name.removesuffix(FILE_SUFFIX)} itself")
                continue
            close = difflib.get_close_matches(name, plain | files, n=1, cutoff=0.6)
            yield Problem(name, "is not a setting" + (f"; did you mean {close[0]}?" if close else "; remove it"))


def _fields(section: type[Section]) -> Iterator[tuple[str, Env]]:
    for field, hint in get_type_hints(section, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, Env):
                yield field, extra


def _read(environ: Mapping[str, str], env: Env, problems: list[Problem]) -> Any:
    """The parsed value, or `None` with a problem noted. Empty counts as not set: compose files leave blanks."""
    given = environ.get(env.name, "").strip()
    path = environ.get(env.name + FILE_SUFFIX, "").strip() if env.secret else ""
    if given and path:
        problems.append(Problem(env.name, f"is set twice; remove it or {env.name}{FILE_SUFFIX}"))
        return None
    if path:
        try:
            given = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.append(Problem(env.name + FILE_SUFFIX, f"cannot be read: {reason}"))
            return None
        if not given:
            problems.append(Problem(env.name + FILE_SUFFIX, "names an empty file"))
            return None
    value = given or env.default
    if value is None:
        if not env.optional:
            problems.append(Problem(env.name, f"is not set: {env.help}"))
        return None
    try:
        return env.parse(value)
    except ValueError as error:
        shown = "" if env.secret else f"{value[:60]!r} will not do; "
        problems.append(Problem(env.name, f"{shown}{error}"))
        return None


def _shown_default(env: Env) -> str:
    if env.default is not None:
        return env.default
    return "(optional)" if env.optional else "(required)"
