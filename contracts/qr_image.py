"""Pictures of a QR token or a payment link."""

import io

import segno


def qr_svg(content: str) -> str:
    """An SVG without size attributes, so that it scales with its box."""
    out = io.BytesIO()
    segno.make(content, error="m", micro=False).save(out, kind="svg", border=4, xmldecl=False, omitsize=True)
    return out.getvalue().decode()


def qr_png(content: str) -> str:
    """A PNG as a data: URI."""
    return str(segno.make(content, error="m", micro=False).png_data_uri(scale=6, border=4))
