"""What every command prints to, and its tables."""

import shutil

from rich.console import Console
from rich.table import Table

# Ids must stay in one piece, so that they can be copied: a narrow terminal wraps lines, not columns.
console = Console(highlight=False, width=max(shutil.get_terminal_size().columns, 320))


def table(*columns: str) -> Table:
    """A plain table."""
    made = Table(box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made
