"""Scenes as pages: rotate, zoom, switch classes on and off in the legend.

Decisions:
- Plotly draws them. Its script (4.8 MB) lies once beside the pages of a folder, not in each of them; a page holds its
  scene, packed, and nothing else. Pages open from disk without server or network, in every browser since 2023, as long
  as the script goes with them; without it they say so. JupyterLab serves pages as if from nowhere, which keeps them
  from the script: a page that is opened there has it inside.
- A page is framed like the scene's picture: parallel rays, and just everything that is drawn, whatever the size of the
  window. `page.html` does that when it opens, for the window's size is known only then.
"""

import base64
import gzip
import html
import json
import re
from pathlib import Path
from string import Template

import matplotlib.pyplot as plt

from stepladder.core import files
from stepladder.core.types import Check
from stepladder.view import plotted
from stepladder.view.scene import Scene
from stepladder.view.style import INK, MUTED, PAPER

SCRIPT = "plotly.min.js"
PAGE = Path(__file__).with_name("page.html")
EXTERNAL = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?https?:", re.IGNORECASE)
FILL = 0.8  # of a panel is filled: the numbers of its axes lie around what is drawn
LEAST = 360  # pixels of height of a row of panels


def checks(folder: Path) -> list[Check]:
    """The gates of a folder of pictures: none is blank, every page finds what it needs beside it, nothing outside."""
    pictures = sorted(folder.glob("*.png"))
    blank = [path.name for path in pictures if plt.imread(path)[..., :3].std() < 0.02]
    pages = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.html"))}
    wrong = [f"{name} loads from outside" for name, text in pages.items() if EXTERNAL.search(text)]
    if not (folder / SCRIPT).exists():
        wrong += [f"{name} lacks {SCRIPT}" for name, text in pages.items() if f'src="{SCRIPT}"' in text]
    return [
        Check("pictures are not blank", bool(pictures) and not blank, ", ".join(blank) or f"{len(pictures)} pictures"),
        Check("scenes stand alone", not wrong, ", ".join(wrong) or f"{len(pages)} pages load nothing from outside"),
    ]


def save_html(scene: Scene, path: Path, alone: bool = False) -> None:
    """Write `scene` as an HTML page at `path`, and beside it the script that all pages there share.

    With `alone` the script is inside: such a page can also be opened in JupyterLab.
    """
    from plotly.offline import get_plotlyjs

    if not alone and not path.with_name(SCRIPT).exists():
        files.write_bytes(path.with_name(SCRIPT), get_plotlyjs().encode())
    content = json.dumps({**json.loads(plotted.figure(scene).to_json()), "frames": plotted.frames(scene)})
    packed = base64.b64encode(gzip.compress(content.encode(), mtime=0)).decode()
    words = {"title": html.escape(scene.title), "note": html.escape(scene.note), "packed": packed, "script": SCRIPT}
    looks = {"paper": PAPER, "ink": INK, "muted": MUTED, "fill": FILL, "least": LEAST * plotted.shape(scene)[0]}
    source = f">{get_plotlyjs()}" if alone else f' src="{SCRIPT}">'
    page = Template(PAGE.read_text(encoding="utf-8")).substitute(words | looks, source=source)
    files.write_bytes(path, page.encode())
