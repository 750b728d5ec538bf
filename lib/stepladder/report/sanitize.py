"""HTML that needs nothing from anywhere: what runs, or would be loaded from elsewhere, is taken out by nh3.

Scripts, frames, forms and event handlers go; pictures that lie beside the notebook, or are attached to it, are put
inside; every other address that a browser would load goes. Tables, drawings, styles and links that a person may click
stay. Elements left open are closed, so that a broken table cannot swallow the rest of a page.

nh3 knows nothing of CSS: what a style would load is taken out by its looks, and the page forbids the browser the rest.
"""

import base64
import re
from pathlib import Path
from typing import Any

import nh3
from markupsafe import Markup

KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".svg": "image/svg+xml"}
CSS_LOADING = re.compile(r"@import[^;]*;?|url\(\s*['\"]?(?!data:|#)[^)]*\)", re.I)
STYLE = re.compile(r"<style.*?</style>", re.S)
DRAWING = "svg g defs path line rect circle ellipse polyline polygon text tspan title"
MORE = "style tfoot font video audio source meter progress button label"
PLACE = "d x y x1 y1 x2 y2 dx dy cx cy r rx ry points width height viewBox transform"
PAINT = "fill fill-opacity stroke stroke-width stroke-dasharray opacity text-anchor font-size font-family font-weight"
COMMON = "class id style title role aria-label lang dir open value min max controls type src color size"
CLEANER = {
    "tags": nh3.ALLOWED_TAGS.union(DRAWING.split(), MORE.split()),
    "clean_content_tags": {"script", "iframe", "object"},
    "attributes": nh3.ALLOWED_ATTRIBUTES | {"*": {*PLACE.split(), *PAINT.split(), *COMMON.split()}},
    "url_schemes": {"http", "https", "mailto", "data", "attachment"},
    "link_rel": None,
}


def clean(text: str, folder: Path | None = None, attachments: dict[str, Any] | None = None) -> Markup:
    """HTML without anything that runs or is loaded from elsewhere; local pictures are embedded.

    Args:
        text: an HTML fragment.
        folder: where relative paths of pictures start; None embeds none.
        attachments: pictures of a markdown cell, name -> MIME bundle.
    """

    def kept(tag: str, name: str, value: str) -> str | None:
        if name == "src":
            return value if value.startswith("data:") else _embed(value, folder, attachments or {})
        if name == "href":  # a link, to be clicked: never to something it holds itself
            return None if value.startswith(("data:", "attachment:")) else value
        return CSS_LOADING.sub("none", value)

    quiet = nh3.clean(text, attribute_filter=kept, **CLEANER)
    return Markup(STYLE.sub(lambda style: CSS_LOADING.sub("none", style[0]), quiet))


def picture(data: bytes | str, mime: str, alt: str = "") -> Markup:
    """An `<img>` holding its own data (bytes, or text already in base64)."""
    return Markup('<img alt="{}" src="{}">').format(alt, data_uri(data, mime))


def data_uri(data: bytes | str, mime: str) -> str:
    """Bytes, or text already in base64, as an address that holds them."""
    encoded = data if isinstance(data, str) else base64.b64encode(data).decode()
    return f"data:{mime};base64,{''.join(encoded.split())}"


def _embed(address: str, folder: Path | None, attachments: dict[str, Any]) -> str | None:
    """A local picture or an attachment as a data URI; None for anything else."""
    if address.startswith("attachment:"):
        bundle = attachments.get(address.removeprefix("attachment:"), {})
        return next((data_uri("".join(data), mime) for mime, data in bundle.items()), None)
    kind = KINDS.get(Path(address).suffix.lower())
    if folder is None or kind is None or ":" in address or not (folder / address).is_file():
        return None
    return data_uri((folder / address).read_bytes(), kind)
