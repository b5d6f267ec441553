"""`make clean`: forgets the development system and all caches."""

import fcntl
import shutil
import sys

from dev.layout import Layout
from dev.migrations import ROOT
from dev.postgres_home import remove_home

_CACHES = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache", "build")


def main() -> None:
    layout = Layout(ROOT / ".tolem")
    if layout.state_dir.exists():
        with layout.lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.exit("the system is running: stop `make up` first")
            remove_home(layout.state_dir)
            shutil.rmtree(layout.state_dir)
    for name in _CACHES:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for room in ROOT.iterdir():
        if room.is_dir() and room.name != ".venv":
            for folder in (room, *room.rglob("__pycache__")):
                if folder.name == "__pycache__":
                    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
