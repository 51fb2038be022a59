"""The page in Chromium: what it shows, what it answers to, and that it asks nobody."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from encoders import uneven_arch
from synthetic import DEVICE, full_inputs

from mosdeploy.families.encoder.bundle import draw_architecture as draw_encoder
from mosdeploy.families.translation.bundle import describe_page, draw_architecture
from mosdeploy.records import Limits
from mosdeploy.report import Choice, ReportInputs, build_report
from mosdeploy.report.page import vega
from mosdeploy.run_folder.candidates import choices

pytestmark = pytest.mark.browser
INPUTS = full_inputs()
CHOICES = INPUTS.choices
AXES = (("latency on xeon", "ms"), ("parameters", "M"), ("size", "MiB"), ("memory", "MiB"))
"""Beside the latency on the device of the search, with their units."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((path for name in names if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(INPUTS, tmp_path_factory.mktemp("page"))


def built(inputs: ReportInputs, folder: Path) -> Path:
    return build_report(inputs, describe_page(inputs.search, inputs.manifest), folder).resolve()


class Opened:
    """A page in a context of its own; `said` is what it printed, `asked` what it fetched."""

    def __init__(self, browser: Any, path: Path, width: int = 1200, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.path = path
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def drawn(self) -> "Opened":
        """Wait for both charts."""
        self.page.wait_for_selector("#front-chart svg path[aria-label]", state="attached")
        self.page.wait_for_selector("#agreement-chart svg path[aria-label]", state="attached")
        return self

    def limit(self, value: float) -> None:
        """Move the slider as a user does."""
        self.page.locator("#limit").fill(str(value))

    @property
    def shown(self) -> tuple[str, str]:
        """Title and command of the card that is shown."""
        [card] = self.page.locator(".card:visible").all()
        return card.locator("h3").inner_text(), card.locator(".command").inner_text()

    @property
    def answer(self) -> str:
        return str(self.page.get_by_role("status").inner_text())


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens pages that must print nothing and ask nobody."""
    made: list[Opened] = []

    def open_page(path: Path, width: int = 1200, **options: Any) -> Opened:
        made.append(Opened(browser, path, width, **options))
        return made[-1]

    yield open_page
    for found in made:
        found.context.close()
        assert found.said == []
        assert found.asked == [found.path.as_uri()]


@pytest.fixture
def opened(open_page: Any, page_path: Path) -> Opened:
    found: Opened = open_page(page_path).drawn()
    return found


def best(axis: int, limit: float) -> Choice:
    """What the front gives within a limit on a device."""
    kept = [x for x in CHOICES if (x.latencies[axis].needed_ms or 0.0) <= limit]
    return min(kept, key=lambda x: x.loss)


def title_of(choice: Choice) -> str:
    winner = ", the winner" if choice.role == "winner" else ""
    return f"Number {choice.number} of the front{winner}"


def point_of(opened: Opened, number: int) -> Any:
    """The point of a member of the front."""
    labelled = f"path[aria-label*='number of the front: {number};']"
    return opened.page.locator(f"#front-chart svg {labelled}").first


def test_the_page_begins_with_the_winner(opened: Opened) -> None:
    [winner] = [x for x in CHOICES if x.role == "winner"]
    assert opened.shown == (title_of(winner), "mosdeploy export")
    assert opened.answer.startswith(title_of(winner))
    limit = float(opened.page.locator("#limit").input_value())
    assert 0 <= limit - (winner.latencies[0].needed_ms or 0.0) <= 0.1


@pytest.mark.parametrize("limit", [4.5, 6.5, 9.2, 11.2, 11.7, 12.0, 14.6])
def test_the_slider_chooses_the_best_within_the_limit(opened: Opened, limit: float) -> None:
    opened.limit(limit)
    chosen = best(0, limit)
    assert opened.shown == (title_of(chosen), chosen.command)
    assert opened.answer.startswith(f"{title_of(chosen)}: loss {chosen.loss:.4f}")
    slider = opened.page.get_by_role("slider", name="At most")
    assert slider.get_attribute("aria-valuetext") == f"{limit:.1f}\N{NO-BREAK SPACE}ms"
    rings = opened.page.locator("#front-chart svg path[stroke-width='2.5']")
    assert rings.count() == (1 if chosen.latencies[0].measured_ms is None else 2)


def test_the_keyboard_is_enough(opened: Opened) -> None:
    page = opened.page
    radio = page.get_by_role("radio", name="latency on rpi")
    radio.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "limit"
    page.keyboard.press("Home")
    assert opened.shown[1] == "mosdeploy export --pick 1"
    page.keyboard.press("ArrowRight")
    assert page.locator("#limit-shown").inner_text() == "4.6\N{NO-BREAK SPACE}ms"
    page.keyboard.press("End")
    assert opened.shown == (title_of(best(0, 1e9)), best(0, 1e9).command)
    radio.focus()
    page.keyboard.press("ArrowRight")  # the next axis
    assert page.get_by_role("radio", name="latency on xeon").is_checked()


def test_another_axis_has_its_own_limits_and_chart(opened: Opened) -> None:
    opened.limit(6.5)
    for name, text in AXES:
        opened.page.get_by_role("radio", name=name).check()
        title = opened.page.locator("#front-chart svg text", has_text=f"{name}, {text}")
        title.wait_for(state="attached")
        assert (
            opened.page.locator("#limit-shown").inner_text().endswith(f"\N{NO-BREAK SPACE}{text}")
        )
    opened.page.get_by_role("radio", name="latency on xeon").check()
    opened.limit(1.3)
    chosen = best(1, 1.3)
    assert opened.shown == (title_of(chosen), chosen.command)


def test_a_click_on_a_point_shows_its_subnet(opened: Opened) -> None:
    point_of(opened, 3).click()
    assert opened.shown == ("Number 3 of the front", "mosdeploy export --pick 3")
    needed = CHOICES[2].latencies[0].needed_ms or 0.0
    assert 0 <= float(opened.page.locator("#limit").input_value()) - needed <= 0.1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_take_the_colours_of_the_page(open_page: Any, page_path: Path, scheme: str) -> None:
    opened = open_page(page_path, color_scheme=scheme).drawn()
    line = opened.page.locator("#front-chart svg .mark-line path").first
    blue = opened.page.evaluate(
        "getComputedStyle(document.documentElement).getPropertyValue('--blue').trim()"
    )
    assert line.get_attribute("stroke") == blue == {"light": "#2059c5", "dark": "#7aa7ff"}[scheme]
    opened.page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    opened.page.wait_for_function(
        "old => document.querySelector('#front-chart .mark-line path')?.getAttribute('stroke')"
        " !== old",
        arg=blue,
    )


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_page_does_not_scroll_sideways(
    open_page: Any, page_path: Path, width: int
) -> None:
    opened = open_page(page_path, width).drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    for name in ("front", "agreement"):
        chart = opened.page.locator(f"#{name}-chart svg").bounding_box()
        assert chart["x"] >= 0 and chart["x"] + chart["width"] <= width
        for text in opened.page.locator(f"#{name}-chart svg text:not([opacity='0'])").all():
            box = text.bounding_box()
            assert box is None or box["x"] + box["width"] <= chart["x"] + chart["width"]
    captions = opened.page.locator("caption:visible").all()
    assert captions
    assert all((box := x.bounding_box())["x"] + box["width"] <= width for x in captions)


def test_one_long_word_makes_no_page_wider(open_page: Any, tmp_path: Path) -> None:
    device = DEVICE.model_copy(update={"name": "d" * 60, "description": f"https://{'u' * 90}"})
    inputs = full_inputs(device)
    search = inputs.search.model_copy(update={"device": device.name})
    named = dataclasses.replace(inputs, search=search, choices=choices(search), noise="n" * 90)
    opened = open_page(built(named, tmp_path), 360).drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 360
    title = opened.page.locator("#front-chart svg text", has_text="latency on").bounding_box()
    assert title["x"] >= 0 and title["x"] + title["width"] <= 360


@pytest.mark.parametrize("draw", [draw_architecture, draw_encoder])
def test_a_drawing_is_whole_on_a_narrow_page(open_page: Any, tmp_path: Path, draw: Any) -> None:
    arch = uneven_arch() if draw is draw_encoder else INPUTS.search.winner.arch
    family = dataclasses.replace(describe_page(INPUTS.search, None), draw=lambda _: draw(arch))
    opened = open_page(build_report(INPUTS, family, tmp_path).resolve(), 360)
    figure = opened.page.locator(".card:visible figure")
    whole = figure.bounding_box()
    for shape in figure.locator("rect, text").all():
        box = shape.bounding_box()
        assert box["x"] >= whole["x"] and box["x"] + box["width"] <= whole["x"] + whole["width"]
    # words of 13 px, hardly scaled
    assert figure.locator("tspan").first.bounding_box()["height"] >= 11


@pytest.mark.parametrize("width", [360, 1200])
def test_no_line_crosses_the_label_of_the_limit(
    open_page: Any, page_path: Path, width: int
) -> None:
    opened = open_page(page_path, width).drawn()
    label = opened.page.locator("#front-chart svg text", has_text="limit 12 ms").bounding_box()
    bottom = label["y"] + label["height"]
    lines = opened.page.locator("#front-chart svg .mark-rule line").all()
    assert lines
    assert all(line.bounding_box()["y"] >= bottom - 3 for line in lines)
    legend = opened.page.locator("#front-chart svg .role-legend").first.bounding_box()
    assert legend["y"] + legend["height"] <= label["y"] + 3


def test_the_slider_works_without_the_chart_library(
    open_page: Any, page_path: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.html"
    bare.write_text(page_path.read_text(encoding="utf-8").replace(vega(), ""), encoding="utf-8")
    opened = open_page(bare)
    opened.limit(6.5)
    chosen = best(0, 6.5)
    assert opened.shown == (title_of(chosen), chosen.command)
    assert opened.page.locator("svg.marks").count() == 0
    assert opened.page.locator("figure:has(.vega):visible").count() == 0


def test_without_scripts_the_winner_and_the_tables_stay(open_page: Any, page_path: Path) -> None:
    opened = open_page(page_path, java_script_enabled=False)
    assert opened.shown[1] == "mosdeploy export"
    assert not opened.page.locator("#chooser").is_visible()
    assert opened.page.locator("noscript p").is_visible()
    # nor is an empty place called a chart
    assert not opened.page.locator("figcaption").is_visible()
    assert opened.page.locator("figure:has(.vega):visible").count() == 0


def test_nothing_leaves_the_page_even_if_it_tries(opened: Opened) -> None:
    refused = opened.page.evaluate(
        "fetch('https://localhost:1/').then(() => 'sent', error => error.name)"
    )
    assert refused == "TypeError"
    assert any("Content Security Policy" in said for said in opened.said)
    opened.said.clear()


def test_one_subnet_needs_no_choice(open_page: Any, tmp_path: Path) -> None:
    search = INPUTS.search.model_copy(update={"limits": Limits()})
    alone = ReportInputs(
        search=search, choices=tuple(x for x in CHOICES if x.role == "winner"), records=()
    )
    opened = open_page(built(alone, tmp_path))
    opened.page.wait_for_selector("#front-chart svg path[aria-label]", state="attached")
    slider = opened.page.locator("#limit")
    assert slider.get_attribute("min") == slider.get_attribute("max")
    assert opened.shown[1] == "mosdeploy export"
