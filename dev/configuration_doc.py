"""`python -m dev.configuration_doc [--check]`: writes docs/configuration.md from `runtime.settings`, or checks it."""

import itertools
import sys
from collections.abc import Iterable

from dev.migrations import ROOT
from runtime import settings as conf
from runtime.env import Row

TARGET = ROOT / "docs" / "configuration.md"

_HEAD = """\
# Configuration

<!-- Written by `python -m dev.configuration_doc`; change runtime/settings.py instead. -->

Every setting is an environment variable. A process reads the sections it needs and, when something is wrong, lists
every problem at once and ends with code 2; a `TOLEM_` variable that is no setting is a problem too, so a typo cannot
hide. `tolem settings` prints the same table.

* **Secrets** (marked) may come from a file: set `NAME_FILE` to its path instead of `NAME`. Setting both is an error.
* An empty value counts as not set. `(required)` has no default; `(optional)` may stay away.

| Process | Sections it reads |
| --- | --- |
| API (`python -m api`) | Database, Temporal, Keys, API, Invoices and the bank, Webhooks, Worker, Logs |
| Worker (`python worker.py`) | the same, and Database, operators |
| Migrations (`alembic upgrade head`) | Database, migrations |
| `tolem` commands | Database, operators; Temporal, Keys and Worker where a command needs them |
| `tolem listen`, `tolem trigger`, `tolem events` | Commands that speak to the API |
| `make up` | Development; what it starts gets the rest from it |

`make up` sets addresses, keys, URLs and its workers' queues itself; other settings in its environment reach them all.
"""


def render() -> str:
    """The whole file."""
    parts = [_HEAD]
    for section, rows in itertools.groupby(conf.describe(), key=lambda row: row.section):
        parts.append(f"## {section}\n\n| Setting | Default | What it is |\n| --- | --- | --- |\n" + _lines(rows))
    return "\n".join(parts)


def _lines(rows: Iterable[Row]) -> str:
    return "".join(f"| {_name(row.name)} | {_default(row)} | {_cell(row.help)} |\n" for row in rows)


def _name(name: str) -> str:
    return f"`{name}` (secret)" if may_be_a_file(name) else f"`{name}`"


def may_be_a_file(name: str) -> bool:
    """Whether `NAME_FILE` is a setting too, which is what makes a setting a secret. Asked of the loader itself."""
    try:
        conf.load(environ={f"{name}_FILE": "/some/path"})
    except conf.SettingsError:
        return False
    return True


def _default(row: Row) -> str:
    if row.default.startswith("("):
        return row.default
    return f"`{_cell(row.default)}`" if row.default else "(empty)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def problem() -> str | None:
    """What is wrong with the committed file, None when it is what the settings say."""
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == render():
        return None
    return "docs/configuration.md differs from the settings: run `python -m dev.configuration_doc`"


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        sys.exit(problem())
    if sys.argv[1:]:
        sys.exit("usage: python -m dev.configuration_doc [--check]")
    TARGET.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
