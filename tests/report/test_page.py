import dataclasses
import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import DEVICE, LIMIT_MS, SPACE, deployment, full_inputs, manifest, search_result

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import BoardCalibration, DeviceState, SessionRecord
from mosdeploy.report import Report, ReportInputs, build_report
from mosdeploy.report.summary import summarise
from mosdeploy.storage import read_record

EMULATED_DEVICE = DeviceProfile(name="rpi", emulated=True)


class Balance(HTMLParser):
    """Fails on an element that is not closed, or closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def words(page: str) -> str:
    """What a reader sees of a page, after checking that its elements are balanced."""
    parser = Balance()
    parser.feed(page)
    assert not parser.open
    return " ".join(" ".join(parser.text).split())


def build(inputs: ReportInputs, folder: Path) -> str:
    return build_report(inputs, folder / "report").read_text(encoding="utf-8")


# -- the page --------------------------------------------------------------------------------------
# ----------------


def test_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = build(full_inputs(), tmp_path)
    assert not re.findall(r"https?:|src=|href=|<script|<link|<img|url\(|@import", page)


def test_page_tells_the_whole_run(tmp_path: Path) -> None:
    text = words(build(full_inputs(), tmp_path))
    for figure in (
        "within the limit of 12 ms",
        "24.1",
        "46.6",
        "2.31%",
        "0.941",
        "64 of 64",
        "Cortex-A72",
        "700 updates",
    ):
        assert figure in text
    assert "Enregistrer le fichier" in text
    assert "to add it" not in text
    for name in (
        "search space",
        "supernet",
        "latency predictor",
        "corpus",
        "tokenizer",
        "bundle file model.onnx",
    ):
        assert name in text


def test_every_chart_says_in_words_what_it_shows(tmp_path: Path) -> None:
    page = build(full_inputs(), tmp_path)
    charts = re.findall(r'<svg[^>]*role="img"[^>]*>', page)
    assert len(charts) == 3
    assert all(re.search(r'aria-label="[^"]{30,}"', chart) for chart in charts)
    assert page.count("The same as a table") == 2
    tables = re.findall(r"<table>.*?</table>", page, flags=re.DOTALL)
    assert all('scope="col"' in table and 'scope="row"' in table for table in tables)


def test_architecture_is_listed_layer_by_layer(tmp_path: Path) -> None:
    inputs = full_inputs()
    page, arch = build(inputs, tmp_path), inputs.search.winner.arch
    text = words(page)
    for i, layer in enumerate(arch.encoder_layers):
        assert f"encoder {i + 1} {layer.ffn_dim} {layer.heads}" in text
    for i, decoder in enumerate(arch.decoder_layers):
        assert (
            f"decoder {i + 1} {decoder.ffn_dim} {decoder.self_heads} {decoder.cross_heads}" in text
        )
    assert page.count('class="cross"') == sum(layer.cross_span for layer in arch.decoder_layers)


def test_nothing_from_a_record_becomes_a_tag(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>&\'"'
    device = DEVICE.model_copy(update={"description": evil})
    stand = deployment(11.0, device)
    stand = stand.model_copy(
        update={"state": stand.state.model_copy(update={"cpu_model": evil, "governor": evil})}
    )
    page = build(dataclasses.replace(full_inputs(device), deployments=(stand,)), tmp_path)
    assert "<script" not in page
    assert words(page).count('<script>alert("1")</script>') == 3
    assert "<b>Close & quit</b>" in words(page)


def test_missing_parts_name_their_command(tmp_path: Path) -> None:
    text = words(build(ReportInputs(search=search_result(verified=False)), tmp_path))
    assert "by prediction: nothing was measured" in text
    assert "The search ran with --no-verify" in text
    for command in ("evaluate", "profile", "export", "train"):
        assert f"Run mosdeploy {command}" in text
    with_bundle = ReportInputs(
        search=search_result(), manifest=manifest(search_result().winner.arch)
    )
    assert "Run mosdeploy deploy --device rpi" in words(build(with_bundle, tmp_path))


def test_emulated_device_is_labelled_everywhere_that_a_time_stands(tmp_path: Path) -> None:
    page = build(full_inputs(EMULATED_DEVICE), tmp_path)
    text = words(page)
    assert "rpi is emulated: a time from it is not a latency" in text
    assert text.count("emulated: not a latency") >= 5  # two tiles, three axes, the deployment
    assert "kept" not in text
    assert "translates a sentence in" not in text


def test_bundle_of_another_architecture_is_not_the_winner(tmp_path: Path) -> None:
    inputs = dataclasses.replace(full_inputs(), manifest=manifest(SPACE.largest))
    assert "another architecture than the winner" in words(build(inputs, tmp_path))
    assert summarise(inputs).headline.measured == "candidate"


def test_state_of_a_profile_stands_in_for_a_deployment(tmp_path: Path) -> None:
    session = SessionRecord(
        session="s1", started_at="2025-03-01T11:00:00Z", state=DeviceState(cpu_model="Cortex-A76")
    )
    inputs = dataclasses.replace(full_inputs(), sessions=(session,))
    assert "Cortex-A72" in words(build(inputs, tmp_path))  # the deployment is newer
    page = words(build(dataclasses.replace(inputs, deployments=()), tmp_path))
    assert "Cortex-A76" in page
    assert "State of the device, 2025-03-01T11:00:00Z." in page
    of_a_fleet = (session.model_copy(update={"host": "pi2"}),)
    page = words(build(dataclasses.replace(inputs, deployments=(), sessions=of_a_fleet), tmp_path))
    assert "State of pi2, 2025-03-01T11:00:00Z." in page


def test_boards_of_a_fleet_stand_on_the_card_with_their_levels(tmp_path: Path) -> None:
    assert "Boards" not in build(full_inputs(), tmp_path)
    levels = (("pi1", 0.98), ("pi2", 1.0345), ("pi3", None))
    boards = tuple(
        BoardCalibration(host=host, num_subnets=10, reference_ms=level, time_ratio=level)
        for host, level in levels
    )
    inputs = full_inputs()
    inputs = dataclasses.replace(inputs, card=inputs.card.model_copy(update={"boards": boards}))
    assert "Boards, level pi1 0.980, pi2 1.034, pi3 unknown" in words(build(inputs, tmp_path))


def test_search_without_latencies_is_drawn_by_size(tmp_path: Path) -> None:
    search = search_result(limit_ms=None)
    front = tuple(x.model_copy(update={"predicted_ms": None}) for x in search.front)
    winner = search.winner.model_copy(update={"predicted_ms": None, "measured_ms": None})
    search = search.model_copy(update={"front": front, "winner": winner, "finalists": ()})
    page = build(ReportInputs(search=search), tmp_path)
    assert "Validation loss against size" in page
    assert "limit" not in words(page)


def test_rerun_replaces_both_files(tmp_path: Path) -> None:
    build(ReportInputs(search=search_result()), tmp_path)
    build(full_inputs(), tmp_path)
    assert sorted(x.name for x in (tmp_path / "report").iterdir()) == ["index.html", "report.json"]
    assert "64 of 64" in (tmp_path / "report" / "index.html").read_text()


# -- the figures -----------------------------------------------------------------------------------
# ----------------


def test_json_holds_what_the_page_shows(tmp_path: Path) -> None:
    inputs = full_inputs()
    build(inputs, tmp_path)
    assert read_record(
        Report, tmp_path / "report" / "report.json", "mosdeploy report"
    ) == summarise(inputs)


@pytest.mark.parametrize(("bundle_ms", "kept"), [(11.4, True), (LIMIT_MS, True), (12.01, False)])
def test_limit_is_judged_by_the_measured_bundle(
    tmp_path: Path, bundle_ms: float, kept: bool
) -> None:
    inputs = full_inputs(bundle_ms=bundle_ms)
    headline = summarise(inputs).headline
    assert (headline.measured, headline.measured_ms, headline.limit_kept) == (
        "bundle",
        bundle_ms,
        kept,
    )
    assert ("broken" in words(build(inputs, tmp_path))) is not kept


def test_without_a_deployment_the_candidate_counts() -> None:
    inputs = dataclasses.replace(full_inputs(), deployments=())
    headline = summarise(inputs).headline
    assert (headline.measured, headline.measured_ms) == (
        "candidate",
        inputs.search.winner.measured_ms,
    )
    assert headline.limit_kept is True


def test_deployment_on_another_device_does_not_count() -> None:
    other = deployment(3.0, DeviceProfile(name="xeon"))
    assert (
        summarise(dataclasses.replace(full_inputs(), deployments=(other,))).headline.measured
        == "candidate"
    )


def test_newest_of_two_deployments_counts() -> None:
    old = deployment(9.0).model_copy(update={"deployed_at": "2025-02-01T00:00:00Z"})
    for order in ((old, deployment(11.4)), (deployment(11.4), old)):
        assert (
            summarise(dataclasses.replace(full_inputs(), deployments=order)).headline.measured_ms
            == 11.4
        )


def test_scores_are_the_winners_whatever_their_name() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    subnets = {name: score for name, score in inputs.scores.subnets.items() if name != "winner"}
    headline = summarise(inputs).headline
    assert (headline.bleu, headline.chrf) == (24.1, 46.6)
    table = inputs.scores.model_copy(update={"subnets": subnets})
    assert summarise(dataclasses.replace(inputs, scores=table)).headline.bleu is None


def test_the_scores_of_an_earlier_winner_are_not_called_the_winners(tmp_path: Path) -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    assert "earlier winner" not in words(build(inputs, tmp_path))
    subnets = dict(inputs.scores.subnets) | {"winner": inputs.scores.subnets["smallest"]}
    old = dataclasses.replace(inputs, scores=inputs.scores.model_copy(update={"subnets": subnets}))
    assert "earlier winner" in words(build(old, tmp_path))


def test_finalists_are_new_to_the_predictor() -> None:
    inputs = full_inputs()
    agreement = summarise(inputs).agreement
    assert sum(x.fitted for x in agreement) == len(inputs.records)
    fresh = {x.key for x in agreement if not x.fitted}
    assert fresh == {x.arch.key for x in inputs.search.finalists} - {
        x.arch.key for x in inputs.records
    }


def test_failed_measurement_is_left_out() -> None:
    inputs = full_inputs()
    failed = inputs.records[0].model_copy(
        update={
            "measurement": inputs.records[0].measurement.model_copy(
                update={"total": None, "error": "out of memory"}
            )
        }
    )
    records = (failed, *inputs.records[1:])
    assert (
        len(summarise(dataclasses.replace(inputs, records=records)).agreement)
        == len(summarise(inputs).agreement) - 1
    )


def test_one_prediction_for_each_record() -> None:
    with pytest.raises(ValueError, match="zip"):
        summarise(dataclasses.replace(full_inputs(), predicted_ms=(1.0,)))


# -- a real browser
# ------------------------------------------------------------------------------------------------


def _png_rows(data: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and the filtered rows of a PNG: enough to see whether a picture is blank."""
    width, height, _, colour = struct.unpack(">IIBB", data[16:26])
    body, position = b"", 8
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body += data[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        position += length + 12
    stride = width * {2: 3, 6: 4}[colour] + 1
    pixels = zlib.decompress(body)
    return width, height, [pixels[i : i + stride] for i in range(0, len(pixels), stride)]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1200, 900), (500, 900)])
def test_browser_draws_the_page(tmp_path: Path, width: int, height: int) -> None:
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        pytest.skip("no Chromium here")
    page = build_report(full_inputs(), tmp_path / "report").resolve()
    picture = tmp_path / "page.png"
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=2000"
    )
    subprocess.run(
        [
            browser,
            *flags.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},{height}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    drawn_width, drawn_height, rows = _png_rows(picture.read_bytes())
    assert (drawn_width, drawn_height) == (width, height)
    varied = sum(len(set(row[1:])) > 8 for row in rows)
    assert varied > height / 2
