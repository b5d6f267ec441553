"""The Temporal UI's remote codec: operators read and write payloads that are encrypted everywhere else."""

import hmac
from enum import StrEnum
from typing import Any

from litestar import MediaType, Request, Response, post

from domain.errors import Code, FieldError, TolemError, invalid
from runtime.codec_server import BadCodecRequest, decode_payloads, encode_payloads
from runtime.payload_codec import EncryptionCodec
from runtime.secrets import Secret

AnyRequest = Request[Any, Any, Any]


class Verb(StrEnum):
    """What the UI asks for."""

    DECODE = "decode"
    ENCODE = "encode"


def codec_routes(codec: EncryptionCodec, token: Secret) -> list[Any]:
    """`POST /codec/decode` and `/codec/encode` with `Authorization: Bearer <TOLEM_CODEC_TOKEN>`, or `/codec/<token>/…`.

    The second form is for a Temporal UI without sign-in, which can send no header: its address is then the secret.
    """

    def _checked(given: str) -> None:
        if not hmac.compare_digest(given.encode(), token.reveal().encode()):
            raise TolemError(Code.UNAUTHORIZED, "The codec token is missing or wrong.")

    async def _coded(request: AnyRequest, verb: Verb) -> Response[bytes]:
        body = await request.body()
        try:
            coded = decode_payloads(body, codec) if verb is Verb.DECODE else await encode_payloads(body, codec)
        except BadCodecRequest as error:
            raise invalid(FieldError("payloads", "invalid", str(error))) from error
        return Response(coded, media_type=MediaType.JSON)

    @post("/codec/{verb:str}", status_code=200, include_in_schema=False)
    async def by_header(request: AnyRequest, verb: Verb) -> Response[bytes]:
        _checked(request.headers.get("authorization", "").removeprefix("Bearer "))
        return await _coded(request, verb)

    @post("/codec/{token_:str}/{verb:str}", status_code=200, include_in_schema=False)
    async def by_address(request: AnyRequest, token_: str, verb: Verb) -> Response[bytes]:
        _checked(token_)
        return await _coded(request, verb)

    return [by_header, by_address]
