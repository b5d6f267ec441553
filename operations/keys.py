"""Making merchants and API keys."""

from db.registry import Registry
from domain.bin import valid_bin
from domain.errors import FieldError, invalid
from domain.merchant import Merchant, Mode
from runtime.secrets import api_key_mode, hash_api_key, new_api_key


async def add_merchant(registry: Registry, name: str, bin_: str) -> Merchant:
    """A new merchant; `TolemError` names what is wrong."""
    errors = []
    if not 1 <= len(name.strip()) <= 200:
        errors.append(FieldError("name", "invalid", "Must have 1 to 200 characters."))
    if not valid_bin(bin_):
        errors.append(FieldError("bin", "invalid", "Must be a 12-digit BIN or IIN with a right check digit."))
    if errors:
        raise invalid(*errors)
    return await registry.add_merchant(name.strip(), bin_)


async def add_key(registry: Registry, merchant_id: str, mode: Mode, name: str, *, key: str | None = None) -> str:
    """Makes (or takes) a key and keeps its hash; the key itself is only here, once."""
    key = key or new_api_key(mode)
    if api_key_mode(key) is not mode:
        raise invalid(FieldError("key", "invalid", f"Is not a {mode} key."))
    await registry.add_key(merchant_id, mode, name, hashed=hash_api_key(key), hint=key[-4:])
    return key
