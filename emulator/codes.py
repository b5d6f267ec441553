"""Result codes of the bank, with the signs the guide prints (Kaspi guide appendix 3)."""

from typing import Final

OK: Final = 0
UNAVAILABLE: Final = -999
NO_CERTIFICATE: Final = -10000
DEVICE_NOT_FOUND: Final = -1501
DEVICE_INACTIVE: Final = -1502
DEVICE_ELSEWHERE: Final = -1503
PURCHASE_NOT_FOUND: Final = -1601
NO_TRADE_POINTS: Final = -14000002
PURCHASE_ID_NOT_FOUND: Final = -99000001
TRADE_POINT_NOT_FOUND: Final = -99000002
FOREIGN_TRADE_POINT: Final = -99000003
REFUND_TOO_LARGE: Final = -99000005
REFUND_ERROR: Final = -99000006
WRONG_PURCHASE_STATUS: Final = -99000011
PARTIAL_REFUND_IMPOSSIBLE: Final = -99000020
TRADE_POINT_DISABLED: Final = 990000018
NO_QR_AT_TRADE_POINT: Final = 990000026
WRONG_AMOUNT: Final = 990000028
NO_PAYMENT_METHODS: Final = 990000033
UNKNOWN_PHONE: Final = -1404

MESSAGES: Final[dict[int, str]] = {
    OK: "OK",
    UNAVAILABLE: "Сервис временно недоступен",
    NO_CERTIFICATE: "Отсутствует сертификат клиента",
    DEVICE_NOT_FOUND: "Устройство с заданным идентификатором не найдено",
    DEVICE_INACTIVE: "Устройство не активно (отключено или удалено)",
    DEVICE_ELSEWHERE: "Устройство уже добавлено в другую торговую точку",
    PURCHASE_NOT_FOUND: "Покупка не найдена",
    NO_TRADE_POINTS: "Отсутствуют торговые точки, необходимо создать торговую точку в приложении Kaspi Pay",
    PURCHASE_ID_NOT_FOUND: "Покупка с заданным идентификатором не найдена",
    TRADE_POINT_NOT_FOUND: "Торговая точка не найдена",
    FOREIGN_TRADE_POINT: "Торговая точка покупки не соответствует текущему устройству",
    REFUND_TOO_LARGE: "Сумма возврата не может превышать сумму покупки",
    REFUND_ERROR: "Ошибка возврата, попробуйте ещё раз. При повторении обратитесь в банк",
    WRONG_PURCHASE_STATUS: "Невозможно вернуть покупку: неверный статус",
    PARTIAL_REFUND_IMPOSSIBLE: "Частичный возврат невозможен",
    TRADE_POINT_DISABLED: "Торговая точка отключена",
    NO_QR_AT_TRADE_POINT: "Торговая точка не принимает оплату по QR",
    WRONG_AMOUNT: "Неверная сумма операции",
    NO_PAYMENT_METHODS: "Нет доступных способов оплаты",
    UNKNOWN_PHONE: "Клиент с указанным номером не найден",
}


class RefusalError(Exception):
    """The bank says no: HTTP 200 with a non-zero StatusCode, nothing was executed."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class BadRequestError(Exception):
    """The request cannot be read: HTTP 400 plain, nothing was executed. The text names the field."""


class UnknownKeyError(Exception):
    """r1 without a valid Api-Key: HTTP 401 (the guide gives no code for it)."""


class OverloadError(Exception):
    """The overload protection's answer, which is no envelope: "429" or "html"."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.answer = answer
