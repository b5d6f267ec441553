"""Which ports and files a system on one machine has."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dev.ports import free_port


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of a system, all on 127.0.0.1. At `demo_receiver` only `make demo` listens."""

    api: int
    emulator: int
    bank: int
    temporal: int
    temporal_ui: int
    postgres: int
    demo_receiver: int

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Seven in a row, the API first."""
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, range(base, base + len(names)), strict=True)))

    @classmethod
    def free(cls) -> "Ports":
        """Any that are free now: for tests."""
        return cls(**{field.name: free_port() for field in fields(cls)})

    def named(self) -> dict[str, int]:
        """Those the system itself listens on."""
        return {name: port for name, port in asdict(self).items() if name != "demo_receiver"}


@dataclass(frozen=True)
class Layout:
    """The files of a system in its one state folder."""

    state_dir: Path

    @property
    def lock(self) -> Path:
        """Held by the system that runs; holds its process number."""
        return self.state_dir / "lock"

    @property
    def secrets(self) -> Path:
        return self.state_dir / "secrets.json"

    @property
    def addresses(self) -> Path:
        """Addresses and demo keys of the running system, for `make demo` (0600)."""
        return self.state_dir / "dev.json"

    @property
    def environment(self) -> Path:
        """The settings of the running system, to be sourced by a shell (0600)."""
        return self.state_dir / "env"

    @property
    def temporal(self) -> Path:
        return self.state_dir / "temporal"

    @property
    def emulator_state(self) -> Path:
        return self.state_dir / "emulator.sqlite"

    @property
    def certificates(self) -> Path:
        return self.state_dir / "certificates"
