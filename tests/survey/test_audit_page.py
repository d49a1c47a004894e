"""The audit's page in a real browser: nothing is fetched, nothing complains, every plot is seen."""

import html
import json
import re
import shutil
import subprocess

import pytest

from dvmap_jax.survey.audit_page import audit_page
from dvmap_jax.survey.page import Bar, bar_chart, heat_map, page, section, table

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
# Runs in the page's copy: what every plot measures, and what went wrong.
PROBE = """<script>
const errors = []; addEventListener("error", event => errors.push(String(event.message)));
addEventListener("load", () => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  const found = {
    errors, width: document.documentElement.scrollWidth, screen: innerWidth,
    figures: [...document.querySelectorAll("figure")].map(f => ({
      caption: f.querySelector("figcaption").textContent, box: box(f),
      marks: [...f.querySelectorAll(".fill, td")].map(box) })),
    fetched: [...document.querySelectorAll("[src], [href]")].map(e => e.outerHTML),
  };
  const pre = document.createElement("pre"); pre.id = "probe";
  pre.textContent = JSON.stringify(found); document.body.append(pre);
});
</script>"""


def browse(path, width):
    """What the page's copy with the probe says when it is opened `width` pixels wide."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command = [BROWSER, *flags, f"--window-size={width},900", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = json.loads(html.unescape(re.search(r'id="probe">(.*?)</pre>', done.stdout, re.S)[1]))
    return found | {"console": re.findall(r"CONSOLE.*", done.stderr)}


@pytest.fixture
def opened(tmp_path):
    if not BROWSER:
        pytest.skip("no Chromium on this machine")

    def run(text, width=1000):
        path = tmp_path / "page.html"
        path.write_text(text.replace("<head>", f"<head>{PROBE}"), encoding="utf-8")
        return browse(path, width)

    return run


def audited(built_corpus):
    read = [json.loads((built_corpus / name).read_text()) for name in ("corpus.json", "audit.json")]
    return audit_page(*read)


@pytest.mark.parametrize("width", [1000, 500])
def test_every_plot_of_an_audit_is_seen(opened, built_corpus, width):
    text = (built_corpus / "audit.html").read_text(encoding="utf-8")
    assert text == audited(built_corpus)
    found = opened(text, width)
    assert found["errors"] == found["console"] == found["fetched"] == []
    assert found["width"] <= found["screen"]
    captions = [figure["caption"] for figure in found["figures"]]
    for wanted in ("Cells by support", "By country", "Gain over the country alone"):
        assert wanted in captions
    for figure in found["figures"]:
        assert min(figure["box"]) > 30, figure["caption"]
        assert figure["marks"] and all(min(box) >= 1 for box in figure["marks"])


def test_the_probe_sees_what_goes_wrong(opened):
    """A script that fails, a picture that is fetched and a bar that is hidden are noticed."""
    broken = bar_chart("Bars", [Bar("a", 1, "1")]).replace('class="fill"', 'class="fill" hidden')
    found = opened(page("Page", [broken, '<img src="missing.png">', "<script>oops()</script>"]))
    assert any("oops" in error for error in found["errors"])
    assert any("oops" in line for line in found["console"])
    assert found["fetched"] and found["figures"][0]["marks"] == [[0, 0]]


def test_what_the_data_says_is_never_markup():
    text = page("<b>", [section("<i>", "<u>", bar_chart("<p>", [Bar("<a>", 1, "<q>")]))])
    text += table("<s>", ["<th1>"], [["<td1>"]]) + heat_map("<h>", ["<c>"], {"<r>": [0.5]})
    for tag in ("<b>", "<i>", "<u>", "<a>", "<q>", "<s>", "<th1>", "<td1>", "<c>", "<r>"):
        assert html.escape(tag) in text
        assert tag not in text.replace(f"</{tag[1:]}", "")


def test_bars_share_one_scale_that_holds_the_intervals():
    text = bar_chart("Bars", [Bar("a", 0.5, "half", (0.4, 1.0)), Bar("b", 0.25, "quarter")])
    assert re.findall(r'fill" style="width:([\d.]+)%', text) == ["50.00", "25.00"]
    assert 'left:40.00%;width:60.00%"' in text


def test_an_empty_cell_of_a_heat_map_stays_empty():
    text = heat_map("Map", ["Q1", "Q2"], {"Egypt": [None, 0.7]}, low=0.4)
    assert "<td></td>" in text and 'style="--depth:37%">0.70' in text
