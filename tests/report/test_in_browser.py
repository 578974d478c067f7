"""The page in a real browser: no error, no overflow, light and dark, by keyboard.

Screenshots are saved in the temporary folder of pytest, or in $REPORT_PICTURES.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from covid_lm.report.run_report import report_html
from tests.report.evaluated import evaluated

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = {"dark": 0, "light": 1}  # blink::mojom::PreferredColorScheme
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--allow-file-access-from-files --virtual-time-budget=3000 --enable-logging=stderr"
)
# A headless window is at least 500 pixels wide, so the page is shown in a narrower frame.
FRAME = """<!DOCTYPE html><html style="color-scheme: {scheme}"><meta charset="utf-8"/>
<style>body {{ margin: 0; }} iframe {{ width: {width}px; height: 2400px; border: 0; }}</style>
<iframe src="report.html"></iframe><pre></pre><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const all = [...page.querySelectorAll("*")];
  const unreachable = all.filter((element) => element.scrollWidth > element.clientWidth + 1
    && getComputedStyle(element).overflowX === "auto" && element.tabIndex < 0);
  const outside = all.filter((element) => !element.closest(".scroll, svg")
    && element.getBoundingClientRect().right > {width} + 1);
  document.querySelector("pre").textContent = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    height: page.documentElement.scrollHeight,
    outside: outside.map((element) => element.outerHTML.slice(0, 200)),
    unreachable: unreachable.length,
    links: page.querySelectorAll("a[href]").length,
    broken: [...page.images].filter((image) => !image.naturalWidth).length,
    images: page.images.length,
    background: getComputedStyle(page.body).backgroundColor,
    color: getComputedStyle(page.body).color,
    curve: getComputedStyle(page.querySelector("svg.plot text")).fill,
  }});
}});
</script></html>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@pytest.fixture(scope="module", params=["two-classes", "hundred-classes"])
def folder(request, tmp_path_factory, two_classes) -> pathlib.Path:
    directory = tmp_path_factory.mktemp(request.param)
    page = two_classes
    if request.param == "hundred-classes":
        classes = tuple(f"class {k}" for k in range(100))
        page = evaluated(classes, "fixed", "gray22", images_per_class=1)
    (directory / "report.html").write_text(report_html(**page.arguments()), encoding="utf-8")
    return directory


def browse(folder: pathlib.Path, page: str, scheme: str, *flags: str) -> tuple[str, str]:
    """Runs Chromium on a page; returns its output and its log."""
    command = [
        CHROMIUM,
        *FLAGS.split(),
        f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        *flags,
        (folder / page).as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_in_a_browser(folder, width, scheme):
    frame = FRAME.format(width=WIDTHS[width], scheme=scheme)
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    printed, logged = browse(folder, "frame.html", scheme, "--dump-dom")
    assert "CONSOLE" not in logged
    found = json.loads(re.search(r"<pre>(.*)</pre>", printed, re.DOTALL).group(1))
    assert found["outside"] == []
    assert found["width"] <= WIDTHS[width]
    assert found["unreachable"] == 0
    assert found["links"] == 8
    assert found["images"] > 5
    assert found["broken"] == 0
    dark = scheme == "dark"
    assert found["background"] == ("rgb(20, 24, 28)" if dark else "rgb(255, 255, 255)")
    assert found["curve"] == found["color"] == ("rgb(228, 231, 234)" if dark else "rgb(28, 33, 38)")

    pictures = pathlib.Path(os.environ.get("REPORT_PICTURES", folder))
    picture = pictures / f"{folder.name}-{width}-{scheme}.png"
    height = found["height"]
    tall = frame.replace("height: 2400px", f"height: {height}px")
    (folder / "frame.html").write_text(tall, encoding="utf-8")
    size = f"--window-size={max(WIDTHS[width], 500)},{height}"
    browse(folder, "frame.html", scheme, f"--screenshot={picture}", size)
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[0] == height
    assert pixels[2, 2].tolist() == ([20, 24, 28] if dark else [255, 255, 255])
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500
