"""The hosted payment page: what a payer sees behind `payment_url`. No script, no outside file, no phone number."""

from typing import Any

import jinja2
from litestar import MediaType, Request, Response, get

from api.services import Services
from contracts.qr_image import qr_svg
from db.reads import PayerView
from domain.invoice import OPEN, Kind, State
from domain.money import format_amount

REFRESH_SECONDS = 5

_ENVIRONMENT = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
_PAGE = _ENVIRONMENT.from_string("""<!doctype html>
<html lang="ru">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
{% if open %}<meta http-equiv="refresh" content="{{ refresh }}">{% endif %}
<title>{{ amount }} ₸ · {{ merchant }}</title>
<style>
body { font: 17px/1.5 system-ui, sans-serif; margin: 0; background: #f4f5f7; color: #1c2430 }
main { max-width: 24rem; margin: 8vh auto; background: #fff; border-radius: 16px; padding: 2rem; text-align: center;
  box-shadow: 0 2px 16px #0001 }
h1 { font-size: 2.2rem; margin: .2rem 0 } .muted { color: #67707e } svg { width: 15rem; height: 15rem }
.paid { color: #1a7f37 } .closed { color: #9a1c1c } a.pay { display: inline-block; background: #f14635; color: #fff;
  padding: .8rem 2rem; border-radius: 10px; text-decoration: none; margin: 1rem 0 }
</style>
</head>
<body><main>
<div class="muted">{{ merchant }}</div>
<h1>{{ amount }} ₸</h1>
{% if sandbox %}<div class="closed">Тест: деньги не списываются · Sandbox</div>{% endif %}
{% if paid %}<p class="paid">Оплачено · Төленді · Paid</p>
{% elif not open %}<p class="closed">Счёт закрыт · Шот жабық · This bill is closed</p>
{% elif svg %}{{ svg | safe }}<p>Отсканируйте QR в приложении Kaspi.kz<br>
  <span class="muted">Kaspi.kz қосымшасында QR-ды сканерлеңіз · Scan it in the Kaspi.kz app</span></p>
{% elif link %}<a class="pay" href="{{ link }}">Оплатить в Kaspi.kz</a>
{% else %}<p>Счёт отправлен в приложение Kaspi.kz: откройте его и подтвердите оплату.<br>
  <span class="muted">Шот Kaspi.kz қосымшасына жіберілді · The bill is in the Kaspi.kz app</span></p>{% endif %}
<p class="muted">№ {{ number }}</p>
</main></body></html>
""")
_GONE = "<!doctype html><meta charset=utf-8><title>404</title><p>Счёт не найден · Шот табылмады · No such bill"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@get("/pay/{invoice_id:str}", include_in_schema=False)
async def payment_page(request: Request[Any, Any, Any], invoice_id: str) -> Response[str]:
    """The page of one bill; whoever has the unguessable address may see amount, merchant name and state."""
    services: Services = request.app.state.services
    view = await services.reads.payer_view(invoice_id) if "\x00" not in invoice_id else None
    if view is None:
        return Response(_GONE, status_code=404, media_type=MediaType.HTML, headers=_HEADERS)
    return Response(_render(view), media_type=MediaType.HTML, headers=_HEADERS)


def _render(view: PayerView) -> str:
    return _PAGE.render(
        merchant=view.merchant_name,
        amount=format_amount(view.amount),
        number=view.number,
        sandbox=view.is_sandbox,
        open=view.state in OPEN,
        paid=view.state in {State.PAID, State.PARTIALLY_REFUNDED, State.REFUNDED},
        svg=qr_svg(view.qr_token) if view.kind is Kind.QR and view.qr_token else None,
        link=view.payment_link,
        refresh=REFRESH_SECONDS,
    )
