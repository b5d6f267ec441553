"""What `dev.sandbox_doc` writes between the words of `domain.scenarios`, in English and in Russian.

Russian sentences are found by the English ones, so that a change of the latter asks for a new translation instead of
leaving an old one beside it.
"""

from collections.abc import Mapping

import msgspec


class NotTranslated(LookupError):
    """The text of the exception is the English sentence that has no translation."""


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One language. `sentences` translates titles and what the bank does; None leaves them as the code has them."""

    columns: tuple[str, str, str]
    phone: str
    code: str
    creation: str
    with_: str
    after: str
    at_once: str
    whole: str
    half: str
    while_: str
    sentences: Mapping[str, str] | None = None

    def of(self, sentence: str) -> str:
        """The sentence in this language; `NotTranslated` where nobody has written it."""
        if self.sentences is None:
            return sentence
        try:
            return self.sentences[sentence]
        except KeyError:
            raise NotTranslated(sentence) from None


ENGLISH = Words(
    columns=("Phone ends in", "QR or link of exactly", "What happens"),
    phone="Invoice to a phone.",
    code="QR and link.",
    creation="The creation answers",
    with_=" with",
    after="after {seconds} s",
    at_once="at once",
    whole="of all of it",
    half="of half of it",
    while_="while it is",
)

RUSSIAN = Words(
    columns=("Конец телефона", "QR или ссылка ровно на", "Что произойдёт"),
    phone="Счёт на телефон.",
    code="QR и ссылка.",
    creation="Ответ на создание —",
    with_=",",
    after="через {seconds} с",
    at_once="сразу",
    whole="на всю сумму",
    half="на половину",
    while_="в состоянии",
    sentences={
        "Paid after two seconds": "Оплачен через две секунды",
        "The payer pays.": "Плательщик платит.",
        "Stays pending": "Ждёт оплаты",
        "Nothing happens until the bill's own end: 24 hours of a phone bill, four minutes of a QR or link.": (
            "До конца срока ничего не происходит: 24 часа у счёта на телефон, четыре минуты у QR и ссылки."
        ),
        "Declined": "Не прошёл",
        "The payment goes wrong: the bank says `Error`.": "Оплата не проходит: банк говорит `Error`.",
        "Expires": "Истёк",
        "The bill can be paid for five seconds only; after them the bank says that it is over.": (
            "Оплатить счёт можно только пять секунд; потом банк говорит, что его срок вышел."
        ),
        "Unknown client": "Неизвестный клиент",
        "The create is refused: the phone is no client's (code -1404).": (
            "Создание отклонено: номер не принадлежит клиенту (код -1404)."
        ),
        "A QR or link names no client; its create is refused as a wrong amount (code 990000028).": (
            "У QR и ссылки клиент не указан; создание отклонено из-за неверной суммы (код 990000028)."
        ),
        "Created, but the answer is lost": "Создан, но ответ потерян",
        (
            "The create is executed and its answer lost. It is not repeated; after three seconds the operator,"
            " whom the sandbox plays, finds the bill at the bank, and then the payer pays."
        ): (
            "Создание исполнено, но ответ потерян. Его не повторяют; через три секунды оператор, роль которого играет"
            " песочница, находит счёт в банке, а затем плательщик платит."
        ),
        (
            "The answer to the first create is lost. Nobody saw that code, so a second one is made at once; the"
            " payer pays."
        ): (
            "Ответ на первое создание потерян. Того кода никто не видел, поэтому сразу создаётся второй; плательщик"
            " платит."
        ),
        "Throttled twice, then works": "Дважды отказ по частоте, затем работает",
        "The payer pays, but the bank answers the first two looks with 429; the third one sees it.": (
            "Плательщик платит, но на первые два запроса статуса банк отвечает 429; оплату видит третий."
        ),
        "Session lost while pending, resumes": "Связь потеряна во время ожидания и возвращается",
        (
            "The payer pays, but the bank turns the first two looks away with 401; then the session is back. There"
            " is no `kaspi.session_changed`: a sandbox has no link to the bank."
        ): (
            "Плательщик платит, но на первые два запроса статуса банк отвечает 401; потом связь возвращается."
            " `kaspi.session_changed` не приходит: у песочницы нет связи с банком."
        ),
        "Cancel accepted, but the payment wins": "Отмена принята, но оплата успела раньше",
        "Stays pending until you cancel. The bank accepts the cancel, and says that the bill is paid.": (
            "Ждёт, пока вы его не отмените. Банк принимает отмену и говорит, что счёт оплачен."
        ),
        "A QR or link cannot be withdrawn, so your cancel never reaches the bank; the payer pays.": (
            "QR и ссылку отозвать нельзя, поэтому ваша отмена до банка не доходит; плательщик платит."
        ),
        "A status word nobody knows, then paid": "Неизвестное слово статуса, затем оплачен",
        "The first look hears a word that is not in the bank's guide, the second one that the bill is paid.": (
            "Первый запрос статуса получает слово, которого нет в руководстве банка, второй — что счёт оплачен."
        ),
        "Paid, and every refund is refused": "Оплачен, и любой возврат отклоняется",
        "The payer pays. Every refund is refused (code -99000011).": (
            "Плательщик платит. Любой возврат отклоняется (код -99000011)."
        ),
        "Paid, and only part of it can be refunded": "Оплачен, и вернуть можно только часть",
        "The payer pays, and a cashier has given half of it back at a till: the other half can be refunded.": (
            "Плательщик платит, и кассир уже вернул половину на кассе: вернуть можно другую половину."
        ),
        "An answer that cannot be read": "Ответ, который нельзя прочитать",
        (
            "The answer to the create breaks off in the middle, so it may have been executed. It is not repeated;"
            " after three seconds the operator, whom the sandbox plays, finds no such bill at the bank."
        ): (
            "Ответ на создание обрывается на середине, так что оно могло исполниться. Его не повторяют; через три"
            " секунды оператор, роль которого играет песочница, такого счёта в банке не находит."
        ),
        "Every answer to the create breaks off in the middle. Nobody saw a code, so nothing was issued.": (
            "Каждый ответ на создание обрывается на середине. Кода никто не видел, так что ничего не выставлено."
        ),
    },
)
