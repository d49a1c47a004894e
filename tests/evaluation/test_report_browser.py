"""The report in a browser: it works, stays offline, and can be read anywhere.

Needs the Python package playwright and a Chromium on this machine; skips without either.
"""

import dataclasses
import shutil

import pytest
from invented_results import MAJORITY, MODELS, read_rows, write_evaluations, write_workdir

from dvmap_jax.evaluation.report_files import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is absent")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
READY = "window.reportReady"


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_evaluations(tmp_path_factory.mktemp("three"), archetypes=14)


@pytest.fixture(scope="module")
def report(folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    write_report(folders, output, workdir=write_workdir(output / "workdir"))
    return output / "report.html"


@pytest.fixture
def visit(browser):
    """Opens a page; at the test's end nothing must have gone wrong in it or left it."""
    contexts, wrong = [], []

    def opened(path, **how):
        contexts.append(browser.new_context(**{"viewport": WIDE, **how}))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: wrong.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))

        def asked(route):
            if route.request.url == path.as_uri():
                return route.continue_()
            wrong.append(f"request: {route.request.url}")
            return route.abort()

        contexts[-1].route("**/*", asked)
        page.goto(path.as_uri())
        page.wait_for_function(READY)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def status(page, section):
    return page.locator(f"section[aria-labelledby={section}] [role=status]").inner_text()


def pick(page, section, label, text):
    chosen = page.locator(f"section[aria-labelledby={section}]").get_by_label(label, exact=True)
    chosen.select_option(label=text)


def test_every_section_is_there_and_hostile_texts_are_only_texts(visit, report):
    page = visit(report)
    titles = page.locator("h2").all_inner_texts()
    assert titles == page.locator("nav a").all_inner_texts()
    assert len(titles) == 11
    pick(page, "answers", "Model", MODELS[2].name)
    assert "<script>window.broken=1</script>" in page.locator("pre").first.inner_text()
    assert page.evaluate("window.broken") is None and page.locator("img").count() == 0


def test_search_and_filters_find_what_the_rows_hold(visit, report, folders):
    page = visit(report)
    rows = [row for folder in folders for row in read_rows(folder)]
    assert status(page, "answers").startswith(f"{len(rows):,} answers, 1 to 20")
    page.get_by_label("Search completions and archetypes").fill("SOMEBODY OF drell asked about k7.")
    said = "Somebody of Drell asked about K7."
    found = [row for row in rows if any(said in text for text in row["completions"])]
    playwright.expect(page.locator(".answers > li")).to_have_count(len(found))
    page.get_by_label("Search completions and archetypes").fill("")
    playwright.expect(page.locator(".answers > li")).to_have_count(20)
    kinds = {
        "failed call": [row for row in rows if "failure" in row],
        "unreadable": [row for row in rows if not row["predicted"] and "failure" not in row],
        "right": [row for row in rows if row["predicted"] == row["answer"]],
    }
    for kind, own in kinds.items():
        pick(page, "answers", "Answer", kind)
        assert status(page, "answers").startswith(f"{len(own):,} answer")
    pick(page, "answers", "Country", "Elstad")
    pick(page, "answers", "Question", "K7")
    pick(page, "answers", "Benchmark", "cross_value")
    own = [row for row in kinds["right"] if row["benchmark"] == "cross_value"]
    own = [row for row in own if (row["country"], row["question_id"]) == ("Elstad", "K7")]
    assert status(page, "answers").startswith(f"{len(own):,} answer")


def test_pages_of_answers_turn_with_the_keyboard(visit, report):
    page = visit(report)
    assert page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    assert "21 to 40 shown" in status(page, "answers")
    page.get_by_role("button", name="Previous").press("Space")
    assert "1 to 20 shown" in status(page, "answers")


def test_group_filters_count_people_and_draw_their_answers(visit, report, folders):
    page = visit(report)
    pick(page, "shares", "Question", "K4")
    pick(page, "shares", "Country", "Belmora")
    rows = [row for row in read_rows(folders[1]) if row["benchmark"] == "test"]
    rows = [row for row in rows if (row["country"], row["question_id"]) == ("Belmora", "K4")]
    assert status(page, "shares").startswith(f"{len(rows)} archetypes, {len(rows)} rows")
    first = page.locator(".options figure").first
    assert first.locator("figcaption").inner_text() == rows[0]["options"][0]
    share = sum(row["answer"] == row["options"][0] for row in rows) / len(rows)
    mean = sum(row["probabilities"][0] for row in rows) / len(rows)
    numbers = first.locator(".number").all_inner_texts()
    assert numbers[0] == f"{100 * share:.1f} %" and numbers[3] == f"{100 * mean:.1f} %"
    stage = next(label for label in ("Young", "Middle", "Late", "Older Adulthood")
                 if label not in {row["attributes"]["Life Stage"] for row in rows})  # fmt: skip
    pick(page, "shares", "Life Stage", stage)
    assert status(page, "shares").startswith("No archetype fits")
    page.get_by_role("button", name="Any archetype").click()
    assert status(page, "shares").startswith("14 archetypes, 14 rows")


def test_the_map_shows_the_chosen_model_s_accuracy(visit, report, folders):
    page = visit(report)
    pick(page, "map", "Model", MODELS[1].name)
    pick(page, "map", "Benchmark", "cross_country")
    rows = [row for row in read_rows(folders[1]) if row["benchmark"] == "cross_country"]
    own = [row["correct"] for row in rows if row["country"] == "Cordaland"]
    line = page.locator(".map tr", has_text="Cordaland").locator("td")
    assert line.count() == 17
    assert line.last.inner_text() == f"{sum(own) / len(own):.2f}"


def test_what_does_not_beat_the_majority_is_said_first(visit, report):
    page = visit(report)
    said = page.locator(".verdict").inner_text()
    assert "does not beat the country majority" in said
    assert f"{MODELS[0].name} is below it on test" in said
    assert page.locator("td .below").count() == page.locator(".verdict li").count()


def test_the_skip_link_comes_first_and_controls_have_names(visit, report):
    page = visit(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    unnamed = "e => e.filter(c => !c.labels?.length && !c.textContent.trim()).length"
    assert page.locator("select, input, button").evaluate_all(unnamed) == 0
    pictures = page.locator("svg:not([aria-hidden])")
    assert pictures.count() > 3
    assert pictures.evaluate_all("e => e.every(c => c.getAttribute('aria-label').length > 20)")


def contrast(page, selector):
    """Of the text in an element against the page's ground (WCAG 2.2, relative luminance)."""
    return page.evaluate(
        """(selector) => {
          const light = (text) => {
            const parts = text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
              .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const ink = light(getComputedStyle(document.querySelector(selector)).color);
          const ground = light(getComputedStyle(document.body).backgroundColor);
          return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        }""",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_either_scheme(scheme, visit, report):
    page = visit(report, color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(252, 252, 250)" if scheme == "light" else "rgb(20, 24, 29)")
    pick(page, "answers", "Answer", "wrong")
    for selector in ("h1", "nav a", ".below", ".soft", "small", ".badge", ".plot text"):
        assert contrast(page, selector) >= 4.5, selector


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_narrow_screen(width, visit, report):
    page = visit(report, viewport={**PHONE, "width": width}, is_mobile=True, has_touch=True)
    page.locator("details").evaluate_all("all => all.forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_country_majority_by_itself_is_a_report_as_well(visit, tmp_path):
    alone = dataclasses.replace(MODELS[0], name=MAJORITY)
    folders = write_evaluations(tmp_path, archetypes=3, models=(alone,))
    write_report(folders, tmp_path / "report")
    page = visit(tmp_path / "report" / "report.html")
    assert page.locator("h2").count() == 8  # no probes, no run
    assert "This is the country majority itself" in page.locator(".verdict").inner_text()
    page.get_by_text("How the models were asked").click()
    assert page.get_by_text("template reasoning, endpoint.samples 1").is_visible()


@pytest.mark.slow
def test_twenty_thousand_rows_of_each_model_load_in_three_seconds(visit, tmp_path):
    folders = write_evaluations(tmp_path, archetypes=313)  # times 16 questions, 4 benchmarks
    write_report(folders, tmp_path / "report")
    page = visit(tmp_path / "report" / "report.html")
    assert status(page, "answers").startswith("60,096 answers")
    assert page.evaluate(READY) < 3000  # milliseconds since navigation began
