"""The Temporal UI's remote codec: operators read payloads that are encrypted everywhere else."""

import hmac
from typing import Any

from litestar import MediaType, Request, Response, post

from domain.errors import Code, FieldError, TolemError, invalid
from runtime.codec_server import BadCodecRequest, decode_payloads
from runtime.payload_codec import EncryptionCodec
from runtime.secrets import Secret


def codec_routes(codec: EncryptionCodec, token: Secret) -> list[Any]:
    """`POST /codec/decode` with `Authorization: Bearer <TOLEM_CODEC_TOKEN>`, and `POST /codec/<token>/decode`.

    The second is for a Temporal UI without sign-in, which can send no header: its address is then the secret.
    """

    def _checked(given: str) -> None:
        if not hmac.compare_digest(given.encode(), token.reveal().encode()):
            raise TolemError(Code.UNAUTHORIZED, "The codec token is missing or wrong.")

    async def _decoded(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            body = decode_payloads(await request.body(), codec)
        except BadCodecRequest as error:
            raise invalid(FieldError("payloads", "invalid", str(error))) from error
        return Response(body, media_type=MediaType.JSON)

    @post("/codec/decode", status_code=200, include_in_schema=False)
    async def decode(request: Request[Any, Any, Any]) -> Response[bytes]:
        _checked(request.headers.get("authorization", "").removeprefix("Bearer "))
        return await _decoded(request)

    @post("/codec/{token_:str}/decode", status_code=200, include_in_schema=False)
    async def decode_by_address(request: Request[Any, Any, Any], token_: str) -> Response[bytes]:
        _checked(token_)
        return await _decoded(request)

    return [decode, decode_by_address]
