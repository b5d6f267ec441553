"""Files that only we may read."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replaces the file at once; it is 0600 from its first byte."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)
