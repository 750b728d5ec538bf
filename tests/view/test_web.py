import os
import re

import matplotlib.pyplot as plt
import numpy as np

from stepladder.view import render, web
from stepladder.view.web import EXTERNAL


def test_the_html_page_stands_alone_and_names_every_class(scene, tmp_path):
    web.save_html(scene, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert not EXTERNAL.search(text)
    assert all(re.search(f'"name":"{name}"', text) for name in ("house", "road", "path"))


def test_a_blank_picture_fails_the_gate(tmp_path):
    plt.imsave(tmp_path / "blank.png", np.ones((10, 10, 3)))
    assert not web.checks(tmp_path)[0].ok
    assert not web.checks(tmp_path / "nothing")[0].ok


def test_a_page_that_loads_from_outside_fails_the_gate(tmp_path):
    (tmp_path / "a.html").write_text("<script src='https://somewhere/x.js'></script>")
    assert not web.checks(tmp_path)[1].ok


def test_trame_is_never_imported(scene, tmp_path):
    import sys

    render.render(scene, tmp_path / "a.png", (200, 150))
    assert not [name for name in sys.modules if name.startswith("trame")]
    assert os.environ.get("VTK_DEFAULT_OPENGL_WINDOW") or render.renderer() == "matplotlib"
