"""The key of the committed histories: test data, made for nothing else."""

from typing import Final

from runtime.secrets import KeyRing

RING: Final = KeyRing("replay-test", {"replay-test": bytes(range(32))})
