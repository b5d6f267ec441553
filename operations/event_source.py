"""Server-Sent Events read from bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html, §9.2.6)."""

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message. With `data` None it only says the place to come back to (`id`) or the wait (`retry`, ms)."""

    id: str | None = None
    event: str = "message"
    data: bytes | None = None
    retry: int | None = None


class Parser:
    """Bytes in, messages out; what is cut off in the middle of a message is none.

    Lines end with LF or CRLF. Text is not decoded to find them: JSON may hold U+2028 and U+0085 as they are, which
    Python counts as line ends and this format does not.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[bytes, list[bytes]] = {}

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that this chunk completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found = []
        for line in (one.removesuffix(b"\r") for one in lines):
            if line:
                self._take(line)
            elif self._fields:
                found.append(self._message())
        return found

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name:  # a line that begins with a colon is a comment
            self._fields.setdefault(name, []).append(value.removeprefix(b" "))

    def _message(self) -> Message:
        fields, self._fields = self._fields, {}
        retry = fields.get(b"retry", [b""])[-1]
        return Message(
            id=fields[b"id"][-1].decode("utf-8", "replace") if b"id" in fields else None,
            event=fields.get(b"event", [b"message"])[-1].decode("utf-8", "replace"),
            data=b"\n".join(fields[b"data"]) if b"data" in fields else None,
            retry=int(retry) if retry.isdigit() else None,
        )
