"""The search attributes: client, worker and server must spell them alike."""

from typing import Final

from temporalio.common import SearchAttributeKey

MERCHANT: Final = SearchAttributeKey.for_keyword("TolemMerchant")
MODE: Final = SearchAttributeKey.for_keyword("TolemMode")
STATE: Final = SearchAttributeKey.for_keyword("TolemState")
ATTENTION: Final = SearchAttributeKey.for_keyword("TolemAttention")

SEARCH_ATTRIBUTES: Final = (MERCHANT, MODE, STATE, ATTENTION)
