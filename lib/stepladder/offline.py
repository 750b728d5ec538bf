"""HTML that needs nothing from anywhere: what runs, or would be loaded from elsewhere, is taken out.

Scripts, frames, forms and event handlers go; pictures that lie beside the notebook, or are attached to it, are put
inside; every other address that a browser would load goes. Links that a person may click stay. Elements left open are
closed, so that a broken table cannot swallow the rest of a page.
"""

import base64
import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".svg": "image/svg+xml"}
VOID = {"area", "br", "col", "hr", "img", "input", "source", "track", "wbr"}
DROPPED = {"script", "iframe", "object", "embed", "link", "meta", "base", "frame", "form"}
WITH_INSIDE = ("script", "iframe", "object")  # what they hold goes with them
LOADING = re.compile(r"""\s(src|srcset|poster|data|background|xlink:href)\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)""", re.I)
HANDLER = re.compile(r"""\son\w+\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)""", re.I)
CSS_LOADING = re.compile(r"@import[^;]*;?|url\(\s*['\"]?(?!data:|#)[^)]*\)", re.I)


def clean(text: str, folder: Path | None = None, attachments: dict[str, Any] | None = None) -> str:
    """HTML without anything that runs or is loaded from elsewhere; local pictures are embedded.

    Args:
        text: an HTML fragment.
        folder: where relative paths of pictures start; None embeds none.
        attachments: pictures of a markdown cell, name -> MIME bundle.
    """
    cleaner = _Cleaner(lambda address: _embed(address, folder, attachments or {}))
    cleaner.feed(text)
    cleaner.close()
    return "".join(cleaner.kept) + "".join(f"</{tag}>" for tag in reversed(cleaner.open))


def picture(data: bytes | str, mime: str, alt: str = "") -> str:
    """An `<img>` holding its own data (bytes, or text already in base64)."""
    return f'<img alt="{html.escape(alt, quote=True)}" src="{data_uri(data, mime)}">'


def data_uri(data: bytes | str, mime: str) -> str:
    """Bytes, or text already in base64, as an address that holds them."""
    encoded = data if isinstance(data, str) else base64.b64encode(data).decode()
    return f"data:{mime};base64,{''.join(encoded.split())}"


class _Cleaner(HTMLParser):
    """Copies HTML as it stands, leaving out what runs or loads; `open` are the elements nobody closed."""

    def __init__(self, embed: Callable[[str], str | None]):
        super().__init__(convert_charrefs=False)
        self.embed, self.within = embed, ""
        self.kept: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in DROPPED:
            self.within = tag if tag in WITH_INSIDE else self.within
        elif not self.within:
            quiet = LOADING.sub(self._source, HANDLER.sub("", self.get_starttag_text()))
            self.kept.append(CSS_LOADING.sub("none", quiet))
            if tag not in VOID and not quiet.endswith("/>"):
                self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        if tag not in DROPPED:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.within == tag:
            self.within = ""
        elif not self.within and tag in self.open:
            while (last := self.open.pop()) != tag:
                self.kept.append(f"</{last}>")
            self.kept.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.within:
            self.kept.append(CSS_LOADING.sub("none", data) if self.cdata_elem == "style" else data)

    def handle_entityref(self, name: str) -> None:
        self.handle_data(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.handle_data(f"&#{name};")

    def _source(self, match: re.Match[str]) -> str:
        address = html.unescape(match[2].strip("\"'"))
        kept = address if address.startswith(("data:", "#")) else self.embed(address)
        return f' {match[1]}="{html.escape(kept, quote=True)}"' if kept else ""


def _embed(address: str, folder: Path | None, attachments: dict[str, Any]) -> str | None:
    """A local picture or an attachment as a data URI; None for anything else."""
    if address.startswith("attachment:"):
        bundle = attachments.get(address.removeprefix("attachment:"), {})
        return next((data_uri("".join(data), mime) for mime, data in bundle.items()), None)
    kind = KINDS.get(Path(address).suffix.lower())
    if folder is None or kind is None or ":" in address or not (folder / address).is_file():
        return None
    return data_uri((folder / address).read_bytes(), kind)
