import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import (
    DEVICE,
    SPACE,
    card,
    deployment,
    digest,
    family_page,
    full_inputs,
    inputs_of,
    manifest,
    search_result,
)

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import BoardCalibration, Candidate, DeviceState, Measurement, SessionRecord
from mosdeploy.report import Report, ReportInputs, build_report, page
from mosdeploy.report.cells import NBSP
from mosdeploy.report.page import (
    agreement_summary,
    agreement_table,
    bundle_facts,
    candidates_table,
    deployments_table,
    describe_device,
    fingerprints_table,
    headline_tiles,
    headline_title,
    predictor_facts,
    scores_table,
    self_test_table,
    vega,
)
from mosdeploy.report.selection import axes_of
from mosdeploy.report.summary import Agreement, Headline, LimitVerdict, summarise
from mosdeploy.run_folder.candidates import choices
from mosdeploy.spaces import ArchConfig
from mosdeploy.storage import read_record

EMULATED_DEVICE = DeviceProfile(name="rpi", emulated=True)
EVIL = '<script>alert("1")</script>&\'"'


class Balance(HTMLParser):
    """Fails on an element that is not closed, or closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("input", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


def words(page: str) -> str:
    """What a reader sees of a page, after checking that its elements are balanced."""
    parser = Balance()
    parser.feed(page.replace(vega(), ""))
    assert not parser.open
    return " ".join(" ".join(parser.text).split())


def build(inputs: ReportInputs, folder: Path) -> str:
    page = build_report(inputs, family_page(), folder / "report")
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a finished run."""
    return build(full_inputs(), tmp_path_factory.mktemp("page"))


def test_page_needs_nothing_from_outside(full_page: str) -> None:
    page = full_page
    assert page.startswith("<!doctype html>\n")
    own = page.replace(vega(), "")
    assert len(own) < len(page) - 500_000
    assert not re.findall(r"https?:|[^-]src=|href=|<link|<img|url\(|@import", own)
    assert "default-src 'none';" in page  # nor may a browser fetch anything
    assert len(page.encode()) < 3_000_000


def test_page_tells_the_whole_run(full_page: str) -> None:
    text = words(full_page)
    for figure in (
        "On rpi, the deployed bundle runs once in 11.4 ms, within the limit of 12 ms.",
        "BLEU 24.1 test set, greedy, in torch chrF 46.6 test set, greedy, in torch",
        "1,234 architectures",
        "2.31%",
        "0.941",
        "64 of 64 examples",
        "BLEU trained, bundle 24.1, 24.1",
        "Cortex-A72",
        "700 steps in 5.2 minutes, 2 experts, neuron routing, vocabulary of 1,500",
    ):
        assert figure in text
    assert "Enregistrer le fichier" in text
    assert "to add it" not in text


def test_family_speaks_in_its_own_words(full_page: str) -> None:
    page = full_page
    text = words(page)
    assert "workload sentence (20 tokens, threads 1, fp32)" in text
    assert "Quality of the task" in text
    assert "One box." in text
    assert "layer FFN width layer 1 256 layer 2 512" in text
    assert "Longest input 128 tokens" in text
    assert "input output Save file" in text
    assert page.count(family_page().draw(SPACE.largest)) == len(full_inputs().choices)


def test_every_chart_says_in_words_what_it_shows(full_page: str) -> None:
    page = full_page.replace(vega(), "")
    charts = re.findall(r'<figure[^>]*role="img"[^>]*><div id="([a-z-]+)"', page)
    assert charts == ["front-chart", "agreement-chart"]
    drawings = re.findall(r'<(?:figure|svg)[^>]*role="img"[^>]*>', page)
    assert all(re.search(r'aria-label="[^"]{20,}"', drawing) for drawing in drawings)
    assert page.count("The same as a table") == 2
    tables = re.findall(r"<table[^>]*>.*?</table>", page, flags=re.DOTALL)
    assert all('scope="col"' in table and 'scope="row"' in table for table in tables)


def test_every_table_can_be_scrolled_by_keys(full_page: str) -> None:
    page = full_page.replace(vega(), "")
    areas = re.findall(r'<div class="scroll"([^>]*)>', page)
    assert len(areas) == page.count("<table")
    assert all(re.fullmatch(r' tabindex="0" role="region" aria-label="[^"]+"', x) for x in areas)


def test_nothing_from_a_record_becomes_a_tag(tmp_path: Path) -> None:
    device = DEVICE.model_copy(update={"description": EVIL})
    stand = deployment(11.0, device)
    state = stand.state.model_copy(
        update={"cpu_model": EVIL, "governor": EVIL, "packages": {EVIL: EVIL}}
    )
    inputs = full_inputs(device)
    assert inputs.scores is not None
    subnets = {EVIL: inputs.scores.subnets["smallest"]}
    inputs = dataclasses.replace(
        inputs,
        deployments=(stand.model_copy(update={"state": state, "bundle": EVIL}),),
        scores=inputs.scores.model_copy(update={"subnets": subnets}),
    )
    page = build(inputs, tmp_path)
    assert "<script>alert" not in page
    assert words(page).count('<script>alert("1")</script>') == 7
    assert "<b>Close & quit</b>" in words(page)


def test_family_text_is_escaped_too(tmp_path: Path) -> None:
    family = dataclasses.replace(
        family_page(),
        workload=EVIL,
        task=EVIL,
        metric_title=EVIL,
        drawing_note=EVIL,
        layer_rows=lambda arch: ((EVIL, 1),),
    )
    page = build_report(full_inputs(), family, tmp_path).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    # three for the whole page, two on each card, one on those that were not evaluated
    num_cards = len(full_inputs().choices)
    assert words(page).count('<script>alert("1")</script>') == 3 + 2 * num_cards + num_cards - 1


def test_missing_parts_name_their_command(tmp_path: Path) -> None:
    text = words(build(inputs_of(search_result(verified=False)), tmp_path))
    assert "by prediction: nothing was measured" in text
    assert "The search ran with --no-verify" in text
    assert "Quality of the task not yet run mosdeploy evaluate" in text
    for command in ("evaluate", "profile", "export", "train"):
        assert f"Run mosdeploy {command}" in text
    untested = dataclasses.replace(inputs_of(search_result()), has_test=False)
    text = words(build(untested, tmp_path))
    assert "There are no test examples." in text and "mosdeploy evaluate" not in text
    full = full_inputs()
    unseen = dataclasses.replace(
        full, search=search_result(verified=False), records=(), predicted_ms=()
    )
    text = words(build(unseen, tmp_path))
    assert "No subnet was both predicted and measured. Run mosdeploy profile" in text
    text = words(build(dataclasses.replace(full, card=None), tmp_path))
    assert "The predictor has no card. Run mosdeploy fit" in text
    with_bundle = inputs_of(search_result(), manifest=manifest(search_result().winner.arch))
    assert "Run mosdeploy deploy --device rpi" in words(build(with_bundle, tmp_path))


def test_a_bundle_that_is_not_deployed_is_told_beside_others(tmp_path: Path) -> None:
    told = "this one stands on no device yet"
    assert told not in words(build(full_inputs(), tmp_path))
    newer = dataclasses.replace(full_inputs(), manifest_sha256="0" * 64)
    page = build(newer, tmp_path)
    assert told in words(page)
    assert "run <code>mosdeploy deploy --device rpi</code></p>" in page


def test_emulated_times_are_labelled_everywhere(tmp_path: Path) -> None:
    text = words(build(full_inputs(EMULATED_DEVICE), tmp_path))
    assert text.count("rpi is emulated: a time from it is not a latency") == 3
    assert text.count("emulated: not a latency") == 4  # two tiles, a limit, the deployment
    assert "kept" not in text
    assert "runs once in" not in text
    # before anything was measured too
    text = words(build(inputs_of(search_result(verified=False), profile=EMULATED_DEVICE), tmp_path))
    assert "The winner for rpi, an emulated device: its times are no latencies." in text
    assert "No state was taken down." in text and "mosdeploy profile --device" not in text


def test_a_report_that_is_killed_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(inputs_of(search_result()), tmp_path)
    path = tmp_path / "report" / "report.json"
    before = path.read_bytes()

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "_render", killed)
    with pytest.raises(KeyboardInterrupt):
        build(full_inputs(), tmp_path)
    assert path.read_bytes() == before


def test_json_holds_what_the_page_shows(tmp_path: Path) -> None:
    inputs = full_inputs()
    build(inputs, tmp_path)
    path = tmp_path / "report" / "report.json"
    assert read_record(Report, path, "mosdeploy report") == summarise(inputs)


def test_a_limit_on_the_tail_is_named_wherever_its_figures_stand(tmp_path: Path) -> None:
    full = full_inputs(bundle_ms=10.0)
    search = full.search.model_copy(update={"statistic": "p90"})
    deployed = deployment(10.0).model_copy(update={"statistic": "p90", "limit_ms": 12.0})
    inputs = dataclasses.replace(full, search=search, deployments=(deployed,))
    page = build(inputs, tmp_path)
    text = page.replace("\N{NO-BREAK SPACE}", " ")
    assert "in 10.6 ms (p90), within the limit of 12 ms." in text
    assert text.count('12 ms (p90) <span class="good">kept</span>') == 2  # headline, deployments
    assert "rpi, predicted (p90)" in text
    assert "% of what was measured (p90)." in text
    assert "On rpi (p90)" in text
    # the predictor's subnets are drawn by the same figure as the finalists
    report = read_record(Report, tmp_path / "report" / "report.json", "mosdeploy report")
    fitted = [x.measured_ms for x in report.agreement if x.fitted]
    assert fitted == [x.measurement.figure_ms("p90") for x in full.records]


def test_notices_and_notes_stand_where_they_hold(tmp_path: Path) -> None:
    inputs = full_inputs()
    plain = words(build(inputs, tmp_path))
    for told in ("broken", "another architecture", "multiplied by", "with *", "training step:"):
        assert told not in plain
    [found] = inputs.deployments
    taken = found.measurement.model_copy(update={"memory_bytes": 2**26})
    held = found.model_copy(update={"measurement": taken, "max_memory_bytes": 2**25})
    text = words(build(dataclasses.replace(inputs, deployments=(held,)), tmp_path))
    assert "The limit on memory is broken." in text
    assert "32 MiB broken 64.0 MiB of the process, as deployed" in text
    assert "Search again with a lower limit" in words(build(full_inputs(bundle_ms=12.01), tmp_path))
    first = inputs.choices[0].model_copy(update={"finetune_command": "mosdeploy finetune --pick 1"})
    noisy = dataclasses.replace(inputs, noise="Run `<x>`.", choices=(first, *inputs.choices[1:]))
    page = build(noisy, tmp_path)
    assert "Run <code>&lt;x&gt;</code>.</p>" in page
    assert page.index("mosdeploy finetune --pick 1") < page.index("mosdeploy export --pick 1")
    other = dataclasses.replace(inputs, manifest=manifest(SPACE.largest))
    assert "another architecture than the winner" in words(build(other, tmp_path))
    winner = inputs.search.winner.model_copy(update={"time_loss": -0.125})
    search = inputs.search.model_copy(update={"level": 1.25, "winner": winner})
    first, *others = inputs.choices
    wider = first.model_copy(update={"is_enlarged": True})
    changed = dataclasses.replace(inputs, search=search, choices=(wider, *others))
    text = words(build(changed, tmp_path))
    for told in (
        "Predictions for rpi are multiplied by 1.250",
        "An architecture with * has more layers or wider FFNs",
        f" {first.loss:.4f}* ",
        "the time of a training step: -0.1250 for the winner",
    ):
        assert told in text


def test_a_search_without_latencies_is_drawn_by_size(tmp_path: Path) -> None:
    search = search_result(limit_ms=None)
    front = tuple(x.model_copy(update={"predicted_ms": None}) for x in search.front)
    winner = search.winner.model_copy(update={"predicted_ms": None, "measured_ms": None})
    search = search.model_copy(update={"front": front, "winner": winner, "finalists": ()})
    text = words(build(inputs_of(search), tmp_path))
    assert "Further left is smaller" in text
    assert "Limit on parameters size memory At most" in text
    assert "by prediction" not in text and "--no-verify" not in text


def card_of(inputs: ReportInputs, name: str) -> page.Card:
    found = page.cards(summarise(inputs), family_page())
    [card] = [x for x in found if x.title.startswith(name) or (name == "winner" and x.shown)]
    return card


def test_the_winner_is_shown_first_with_all_that_is_known() -> None:
    card = card_of(full_inputs(), "winner")
    assert card.title.endswith(" of the front, the winner")
    assert card.command == "mosdeploy export"
    facts = dict(card.facts)
    assert facts["BLEU, inherited"] == "24.1"
    assert facts["Quality of the task"] is None
    assert "<small>measured in a search; " in str(facts["On rpi"])
    assert f"ms ±{NBSP}2% predicted</small>" in str(facts["On rpi"])
    assert f"measured on rpi, 1.61{NBSP}ms ±{NBSP}25% predicted on xeon, 2,022" in card.answer
    assert card.layers.rows == (("layer 1", 256), ("layer 2", 512))


def test_others_are_exported_and_evaluated_by_their_number() -> None:
    inputs = full_inputs()
    card = card_of(inputs, "Number 2 of")
    assert card.command == "mosdeploy export --pick 2"
    facts = dict(card.facts)
    assert facts["Quality of the task"] == "<code>mosdeploy evaluate --pick 2</code>"
    assert str(facts["On xeon"]).endswith(f" ±{NBSP}25%<small>predicted, not measured</small>")
    assert f" ±{NBSP}2% predicted on rpi, " in card.answer
    untested = page.cards(summarise(inputs), family_page(), has_test=False)
    assert not any("evaluate" in str(card.facts) for card in untested)


def test_a_finalist_that_broke_the_limit_is_never_chosen() -> None:
    search = search_result()
    broke = {"arch": search.front[0].arch, "measured_ms": 99.0, "loss": 9.0}
    beside = search.winner.model_copy(update=broke)
    front = tuple(x for x in search.front[1:] if x.arch != search.winner.arch)
    search = search.model_copy(update={"front": front, "finalists": (*search.finalists, beside)})
    inputs = inputs_of(search)
    report = summarise(inputs)
    [*_, card] = page.cards(report, family_page())
    assert (card.title, card.command) == ("Beside the front", None)
    latency = page.script_data(report, axes_of(report.choices, search))["axes"][0]
    assert latency["needed"][-1] is None
    assert latency["high"] < 99.0
    # the winner is beside the front too, and can be chosen
    assert card_of(inputs, "winner").command == "mosdeploy export"


def test_the_script_has_the_need_of_each_choice_on_each_axis() -> None:
    inputs = full_inputs()
    report = summarise(inputs)
    data = page.script_data(report, axes_of(inputs.choices, inputs.search))
    assert data["keys"] == [x.arch.key for x in inputs.choices]
    assert data["ranks"] == [x.rank for x in inputs.choices]
    latency = data["axes"][0]
    assert (latency["name"], latency["unit"]) == ("latency:rpi", "ms")
    assert list(latency["needed"]) == [x.latencies[0].needed_ms for x in inputs.choices]
    assert all(x["chart"]["width"] == "container" for x in data["axes"])
    assert "https:" not in str(data)
    assert data["agreement"] is not None
    nothing = report.model_copy(update={"agreement": ()})
    assert page.script_data(nothing, ())["agreement"] is None


POINTS = tuple(
    Agreement(key=key, predicted_ms=predicted_ms, measured_ms=10.0, fitted=fitted)
    for key, predicted_ms, fitted in (("a", 10.5, True), ("b", 9.5, False), ("c", 10.51, False))
)


def by_arch(inputs: ReportInputs) -> dict[ArchConfig, Candidate]:
    return {x.arch: x for x in inputs.search.front}


def headline(**changes: object) -> Headline:
    return summarise(full_inputs()).headline.model_copy(update=changes)


def test_title_says_what_was_measured() -> None:
    sentence = "On rpi, the deployed bundle runs once in 11.4\N{NO-BREAK SPACE}ms"
    limit = "the limit of 12\N{NO-BREAK SPACE}ms."
    assert headline_title(headline(), "runs once") == f"{sentence}, within {limit}"
    broken = headline(limit_kept=False)
    assert headline_title(broken, "runs once") == f"{sentence}, which breaks {limit}"
    narrowly = headline(measured_ms=12.0004, limit_ms=12.0, limit_kept=False)
    assert "in 12.0004\N{NO-BREAK SPACE}ms, which breaks" in headline_title(narrowly, "runs once")
    assert headline_title(headline(limit_kept=None), "runs once") == f"{sentence}."
    assert headline_title(headline(measured="candidate"), "runs").startswith("On rpi, the winner")


def test_each_limit_on_size_or_memory_has_a_tile() -> None:
    most = 3 * 2**20
    size = LimitVerdict(
        name="max_size_bytes", most=most, taken=most + 1024, counted="of both files", kept=False
    )
    memory = LimitVerdict(name="max_memory_bytes", most=2**21, taken=None, counted="", kept=None)
    line = headline(other_limits=(size, memory), metrics={"accuracy": 0.6844, "F1": 66.0})
    tiles = {
        name: str(tile).replace("\N{NO-BREAK SPACE}", " ")
        for name, tile in headline_tiles(line, "Quality")
    }
    verdict = '3 MiB <span class="bad">broken</span><small>3.00098 MiB of both files</small>'
    assert tiles["Limit on size"] == verdict
    assert tiles["Limit on memory"] == "2 MiB<small>not known</small>"
    assert tiles["accuracy"] == "0.684<small>test set, greedy, in torch</small>"
    assert "Quality" not in tiles


def test_a_size_is_of_a_bundle_only_where_one_is_deployed() -> None:
    tiles = dict(headline_tiles(headline(), "Quality"))
    assert tiles["Size"].endswith("<small>on disk, all files</small>")
    tiles = dict(headline_tiles(headline(measured="candidate"), "Quality"))
    assert tiles["Size"].endswith("<small>estimated</small>")


def test_measured_memory_stands_beside_what_was_predicted() -> None:
    found = full_inputs().choices
    assert "memory" in candidates_table(found, "median").header
    first = found[0].model_copy(update={"measured_memory_bytes": 3 * 2**20})
    table = candidates_table((first, *found[1:]), "median")
    i = table.header.index("memory, measured")
    assert table.header[i - 1] == "memory, predicted"
    assert {row[i] for row in table.rows} == {"3.0\N{NO-BREAK SPACE}MiB", "-"}


def test_each_candidate_is_listed_once_by_loss() -> None:
    inputs = full_inputs()
    table = candidates_table(inputs.choices, "median")
    assert table.header[:6] == (
        "number",
        "role",
        "loss",
        "rpi, predicted",
        "rpi, measured",
        "xeon, predicted",
    )
    assert len({row[-1] for row in table.rows}) == len(table.rows) == len(inputs.choices)
    losses = [float(str(row[2])) for row in table.rows]
    assert losses == sorted(losses)
    [winner] = [row for row in table.rows if row[1] == "winner"]
    assert f">{inputs.search.winner.arch.key}: enc " in str(winner[-1])
    # where nothing was measured there is no column of dashes
    assert "xeon, measured" not in table.header and "memory, measured" not in table.header
    assert winner[0] == inputs.search.front.index(by_arch(inputs)[inputs.search.winner.arch]) + 1


def test_scores_have_a_column_for_each_metric() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    largest = inputs.scores.subnets["largest"].model_copy(update={"metrics": {"accuracy": 0.5}})
    subnets = {**inputs.scores.subnets, "largest": largest}
    scores = inputs.scores.model_copy(update={"subnets": subnets})
    table = scores_table(scores, inputs.choices)
    assert table is not None
    assert table.header[1:4] == ("accuracy", "BLEU", "chrF")
    assert table.rows[0][:4] == ("largest", "0.500", "-", "-")
    assert table.rows[2][:4] == ("winner", "-", "24.1", "46.6")
    assert table.rows[2][-2:] == (180, "greedy")


def test_scores_of_an_earlier_search_are_called_so() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    first = inputs.scores.subnets["largest"].model_copy(update={"arch": inputs.choices[0].arch})
    subnets = {**inputs.scores.subnets, "front 1": first, "front 2, finetuned": first}
    scores = inputs.scores.model_copy(update={"subnets": subnets})
    table = scores_table(scores, inputs.choices)
    assert table is not None
    names = [row[0] for row in table.rows]
    assert names == ["largest", "smallest", "winner", "front 1", "earlier front 2, finetuned"]
    other = inputs.search.model_copy(update={"winner": inputs.search.front[0]})
    table = scores_table(inputs.scores, choices(other))
    assert table is not None
    assert [row[0] for row in table.rows] == ["largest", "smallest", "earlier winner"]


def test_agreement_counts_what_is_within_five_percent() -> None:
    assert agreement_summary(POINTS, "median").startswith("2 of 3 subnets were predicted within 5%")
    rows = agreement_table(POINTS).rows
    assert rows[0] == ("<code>a</code>", "no", "10.5", "10.0", "+5.0%")
    assert [row[-1] for row in rows] == ["+5.0%", "-5.0%", "+5.1%"]
    [row] = agreement_table(
        (Agreement(key="d", predicted_ms=0.0618, measured_ms=0.0571, fitted=True),)
    ).rows
    assert row[2:] == ("0.0618", "0.0571", "+8.2%")


def test_predictor_facts_name_the_boards_of_a_fleet() -> None:
    assert dict(predictor_facts(card()))["Boards, time ratio"] is None
    ratios = (("pi1", 0.98), ("pi2", 1.0345), ("pi3", None))
    boards = tuple(
        BoardCalibration(host=host, num_subnets=10, reference_ms=ratio, time_ratio=ratio)
        for host, ratio in ratios
    )
    facts = dict(predictor_facts(card().model_copy(update={"boards": boards})))
    assert facts["Boards, time ratio"] == "pi1 0.980, pi2 1.034, pi3 unknown"
    assert facts["Older sessions, time ratio"] is None
    assert facts["Mean relative error"] == "2.31%"
    assert facts["Model"] == "regression and MLP"


def test_the_newest_state_of_the_device_is_shown() -> None:
    state = DeviceState(cpu_model="Cortex-A76")
    session = SessionRecord(
        session="s1",
        dataset_id="d1",
        started_at="2025-03-01T11:00:00Z",
        state=state,
        host="pi2",
    )
    inputs = dataclasses.replace(full_inputs(), sessions=(session,))
    found = describe_device(inputs)
    assert found is not None
    line, rows = found
    facts = dict(rows)
    assert line.startswith("Raspberry Pi 4, 64-bit. State of rpi, <time>2025-03-01 12:30 UTC")
    assert facts["Processor"] == "Cortex-A72"  # the deployment is newer
    assert facts["Memory"] == "4.0\N{NO-BREAK SPACE}GiB, 3.0\N{NO-BREAK SPACE}GiB free"
    assert (facts["Frequency"], facts["Throttled"]) == ("1800 MHz", None)
    assert (facts["numpy"], facts["Execution providers"]) == ("2.2.1", "Azure, CPU")
    found = describe_device(dataclasses.replace(inputs, deployments=(), context=None))
    assert found is not None
    assert dict(found[1])["Processor"] == "Cortex-A76"
    assert "State of pi2, " in found[0]
    assert describe_device(inputs_of(search_result())) is None


def test_the_deployment_of_the_headline_comes_first() -> None:
    other = deployment(3.0, DeviceProfile(name="arm"))
    inputs = full_inputs()
    table = deployments_table(dataclasses.replace(inputs, deployments=(other, deployment(11.4))))
    assert table is not None
    assert [row[0] for row in table.rows] == ["rpi", "arm"]
    assert table.rows[0][3:8] == (
        "11.4\N{NO-BREAK SPACE}ms",
        "12.1\N{NO-BREAK SPACE}ms",
        "12.1\N{NO-BREAK SPACE}ms",
        "11.1\N{NO-BREAK SPACE}ms",
        '12 ms <span class="good">kept</span>',
    )
    assert len(table.rows[0]) == len(table.header)
    assert deployments_table(dataclasses.replace(inputs, deployments=())) is None


def test_failed_deployment_shows_its_error() -> None:
    failed = deployment(1.0, DEVICE.model_copy(update={"emulated": True})).model_copy(
        update={"measurement": Measurement(error="killed"), "self_test_passed": False}
    )
    table = deployments_table(dataclasses.replace(full_inputs(), deployments=(failed,)))
    assert table is not None
    [row] = table.rows
    assert row[0] == "rpi (emulated: not a latency)"
    assert row[2] == '<span class="bad">failed</span>'
    assert row[3:10] == ('<span class="bad">killed</span>', "-", "-", "-", "12 ms", "-", "-")


def test_bundle_and_self_test_by_hand() -> None:
    made = manifest(SPACE.largest)
    facts = dict(bundle_facts(made, 3 * 2**19, family_page()))
    assert facts["Size"] == "1.5\N{NO-BREAK SPACE}MiB"
    assert facts["Longest input"] == "128 tokens"
    assert facts["Same as trained"] == "64 of 64 examples"
    assert facts["BLEU trained, bundle"] == "24.1, 24.1"
    table = self_test_table(made, ("input", "output"))
    assert table is not None
    assert table.header == ("input", "output") and table.is_stacked
    assert table.rows[0] == ("Save file", "Enregistrer le fichier")
    assert self_test_table(made.model_copy(update={"self_test": ()}), ("input", "output")) is None


def test_every_fingerprint_is_listed() -> None:
    rows = dict(fingerprints_table(full_inputs()).rows)
    assert rows["training data"] == f"<code>{digest('7')}</code>"
    assert list(rows)[3:] == [
        "training data",
        "tokenizer",
        "latency dataset",
        "bundle: supernet",
        "bundle: tokenizer",
        "bundle file model.onnx",
        "bundle file tokenizer.model",
    ]
    rows = dict(fingerprints_table(inputs_of(search_result())).rows)
    assert list(rows) == ["search space", "supernet", "latency predictor"]
