"""The engine's histories of what the judge complains about, kept for whoever looks for the reason."""

import re
from collections.abc import Iterable
from pathlib import Path

from dev.temporal import TemporalServer

_STORIES = {"inv": "invoice", "ref": "refund", "con": "kaspi-session", "whd": "delivery", "sub": "subscription"}
_OBJECT = re.compile(rf"\b({'|'.join(_STORIES)})_[a-z2-7]{{26}}\b")
_MOST = 20


async def keep_histories(temporal: TemporalServer, texts: Iterable[str], folder: Path) -> None:
    """`histories/<workflow>.json` for the first objects that `texts` name; payloads stay encrypted."""
    named = {found[0]: found[1] for text in texts for found in _OBJECT.finditer(text)}
    kept = folder / "histories"
    for object_id, kind in list(named.items())[:_MOST]:
        workflow = f"{_STORIES[kind]}-{object_id}"
        said = await temporal.ask("workflow", "show", "--workflow-id", workflow, "--output", "json")
        if said:
            kept.mkdir(exist_ok=True)
            (kept / f"{workflow}.json").write_bytes(said)
