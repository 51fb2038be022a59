from synthetic import card, full_inputs

from mosdeploy.pipeline.choices import choices
from mosdeploy.records import BoardCalibration, Candidate
from mosdeploy.report import ReportInputs
from mosdeploy.report.limits import LimitVerdict
from mosdeploy.report.sections import (
    agreement_summary,
    agreement_table,
    broken_limits,
    candidates_table,
    headline_tiles,
    headline_title,
    predictor_facts,
    scores_table,
)
from mosdeploy.report.summary import Agreement, Headline, summarise
from mosdeploy.spaces import ArchConfig

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
    space = "\N{NO-BREAK SPACE}"
    told = f"in 12.0004{space}ms, which breaks the limit of 12{space}ms."
    assert headline_title(narrowly, "runs once").endswith(told)
    assert headline_title(headline(limit_kept=None), "runs once") == f"{sentence}."
    assert headline_title(headline(measured="candidate"), "runs").startswith("On rpi, the winner")


def test_this_machine_is_called_so() -> None:
    title = headline_title(headline(device="local"), "runs once")
    assert title.startswith("On this machine, the deployed bundle runs once in ")


def test_title_claims_no_time_without_one() -> None:
    assert "nothing was measured" in headline_title(headline(measured_ms=None), "runs once")
    assert "no latencies" in headline_title(headline(emulated=True), "runs once")


def test_one_tile_for_each_metric() -> None:
    tiles = dict(headline_tiles(headline(metrics={"accuracy": 0.6844, "F1": 66.0}), "Quality"))
    assert list(tiles)[:3] == ["accuracy", "F1", "Predicted"]
    assert tiles["accuracy"] == "0.684<small>test set, greedy, in torch</small>"
    assert "Quality" not in tiles


def test_each_limit_on_other_than_latency_has_a_tile() -> None:
    limits = (
        LimitVerdict(name="max_body_parameters", most=26_000, taken=24_000, counted="", kept=True),
        LimitVerdict(
            name="max_size_bytes",
            most=3 * 2**20,
            taken=3 * 2**20 + 1024,
            counted="of both files",
            kept=False,
        ),
        LimitVerdict(
            name="max_memory_bytes",
            most=2**21,
            taken=2**20,
            counted="of weights, predicted",
            kept=None,
        ),
    )
    line = headline(other_limits=limits)
    tiles = headline_tiles(line, "Quality")
    assert [
        (name, str(tile).replace("\N{NO-BREAK SPACE}", " "))
        for name, tile in tiles
        if name.startswith("Limit on")
    ] == [
        (
            "Limit on parameters of the encoder",
            '26,000 <span class="good">kept</span><small>24,000</small>',
        ),
        (
            "Limit on size",
            '3 MiB <span class="bad">broken</span><small>3.00098 MiB of both files</small>',
        ),
        ("Limit on memory", "2 MiB<small>1.0 MiB of weights, predicted</small>"),
    ]
    [told] = broken_limits(line)
    told = told.replace("\N{NO-BREAK SPACE}", " ")
    assert told.startswith("The limit on size, 3 MiB, is broken: 3.00098 MiB of both")
    assert broken_limits(headline()) == ()


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


def test_tiles_name_what_is_not_there_yet() -> None:
    missing = {"metrics": {}, "unscored": "run mosdeploy evaluate", "measured_ms": None}
    line = headline(**missing, measured="nothing", limit_ms=None)
    tiles = dict(headline_tiles(line.model_copy(update={"predicted_ms": None}), "Quality"))
    assert tiles["Quality"] == "not yet<small>run mosdeploy evaluate</small>"
    assert tiles["Measured"] == "not yet<small>run mosdeploy deploy</small>"
    predicted = dict(headline_tiles(line, "Quality"))
    assert predicted["Measured"] == "not yet<small>run mosdeploy search</small>"
    assert tiles["Limit"] is None
    assert tiles["Predicted"] is None


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
    assert winner[0] == inputs.search.front.index(by_arch(inputs)[inputs.search.winner.arch]) + 1


def test_a_device_that_measured_nothing_has_no_column_for_it() -> None:
    choices = tuple(
        x.model_copy(
            update={
                "latencies": tuple(
                    y.model_copy(update={"device": device, "measured_ms": measured_ms})
                    for y, device, measured_ms in zip(
                        x.latencies, ("local", "xeon"), (4.2, None), strict=True
                    )
                )
            }
        )
        for x in full_inputs().choices
    )
    table = candidates_table(choices, "median")
    columns = ("this machine, predicted", "this machine, measured", "xeon, predicted")
    assert table.header[3:7] == (*columns, "parameters")
    assert all(len(row) == len(table.header) for row in table.rows)


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


def test_no_scores_no_table() -> None:
    assert scores_table(None, full_inputs().choices) is None


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
