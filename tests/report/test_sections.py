from synthetic import SPACE, card, full_inputs, search_result

from mosdeploy.records import BoardCalibration
from mosdeploy.report import ReportInputs
from mosdeploy.report.sections import (
    agreement_figure,
    agreement_summary,
    agreement_table,
    candidates_table,
    headline_tiles,
    headline_title,
    predictor_facts,
    scores_table,
    search_chart,
)
from mosdeploy.report.summary import Agreement, Headline, summarise

POINTS = tuple(
    Agreement(key=key, predicted_ms=predicted_ms, measured_ms=10.0, fitted=fitted)
    for key, predicted_ms, fitted in (("a", 10.5, True), ("b", 9.5, False), ("c", 10.51, False))
)


def headline(**changes: object) -> Headline:
    return summarise(full_inputs()).headline.model_copy(update=changes)


def test_title_says_what_was_measured() -> None:
    sentence = "On rpi, the deployed bundle runs once in 11.4\N{NO-BREAK SPACE}ms"
    limit = "the limit of 12\N{NO-BREAK SPACE}ms."
    assert headline_title(headline(), "runs once") == f"{sentence}, within {limit}"
    broken = headline(limit_kept=False)
    assert headline_title(broken, "runs once") == f"{sentence}, which breaks {limit}"
    assert headline_title(headline(limit_kept=None), "runs once") == f"{sentence}."
    assert headline_title(headline(measured="candidate"), "runs").startswith("On rpi, the winner")


def test_title_claims_no_time_without_one() -> None:
    assert "nothing was measured" in headline_title(headline(measured_ms=None), "runs once")
    assert "no latencies" in headline_title(headline(emulated=True), "runs once")


def test_one_tile_for_each_metric() -> None:
    tiles = dict(headline_tiles(headline(metrics={"accuracy": 0.6844, "F1": 66.0}), "Quality"))
    assert list(tiles)[:3] == ["accuracy", "F1", "Predicted"]
    assert tiles["accuracy"] == "0.684<small>test set, greedy, in torch</small>"
    assert "Quality" not in tiles


def test_tiles_name_what_is_not_there_yet() -> None:
    line = headline(metrics={}, measured_ms=None, measured="nothing", limit_ms=None)
    tiles = dict(headline_tiles(line.model_copy(update={"predicted_ms": None}), "Quality"))
    assert tiles["Quality"] == "not yet<small>run mosdeploy evaluate</small>"
    assert tiles["Measured"] == "not yet<small>run mosdeploy search</small>"
    assert tiles["Limit"] is None
    assert tiles["Predicted"] is None


def test_chart_has_a_mark_for_each_candidate() -> None:
    report = summarise(full_inputs())
    chart = search_chart(report)
    legend = 1
    assert chart.count("<circle") == len(report.search.front) + legend
    others = [x for x in report.search.finalists if x != report.search.winner]
    assert chart.count('class="measured"') == len(others) + legend
    assert chart.count('class="winner"') == 1 + legend
    assert "limit 12 ms" in chart


def test_unverified_winner_is_drawn_as_predicted() -> None:
    report = summarise(ReportInputs(search=search_result(verified=False)))
    assert "Winner, predicted" in search_chart(report)


def test_each_candidate_is_listed_once_by_loss() -> None:
    search = search_result()
    table = candidates_table(search)
    keys = [row[0] for row in table.rows]
    assert len(set(keys)) == len(keys)
    losses = [float(str(row[2])) for row in table.rows]
    assert losses == sorted(losses)
    roles = {row[0]: row[1] for row in table.rows}
    assert roles[f"<code>{search.winner.arch.key}</code>"] == "winner"


def test_scores_have_a_column_for_each_metric() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    largest = inputs.scores.subnets["largest"].model_copy(update={"metrics": {"accuracy": 0.5}})
    subnets = {**inputs.scores.subnets, "largest": largest}
    scores = inputs.scores.model_copy(update={"subnets": subnets})
    table = scores_table(scores, inputs.search.winner.arch)
    assert table is not None
    assert table.header[1:4] == ("accuracy", "BLEU", "chrF")
    assert table.rows[0][:4] == ("largest", "0.500", "-", "-")
    assert table.rows[2][:4] == ("winner", "-", "24.1", "46.6")
    assert table.rows[2][-2:] == (180, "greedy")


def test_scores_of_an_earlier_winner_are_called_so() -> None:
    inputs = full_inputs()
    table = scores_table(inputs.scores, SPACE.largest)
    assert table is not None
    assert [row[0] for row in table.rows] == ["largest", "smallest", "earlier winner"]


def test_no_scores_no_table() -> None:
    assert scores_table(None, SPACE.largest) is None


def test_agreement_counts_what_is_within_five_percent() -> None:
    assert agreement_summary(POINTS).startswith("2 of 3 subnets were predicted within 5%")
    rows = agreement_table(POINTS).rows
    assert rows[0] == ("<code>a</code>", "no", "10.50", "10.00", "+5.0%")
    assert [row[-1] for row in rows] == ["+5.0%", "-5.0%", "+5.1%"]


def test_new_points_are_drawn_apart_from_fitted_ones() -> None:
    figure = agreement_figure(POINTS, emulated=False)
    legend = 1
    assert figure.count('class="fitted"') == 1 + legend
    assert figure.count('class="measured"') == 2 + legend
    assert "emulated" not in figure
    assert agreement_figure(POINTS, emulated=True).count("emulated: not a latency") == 2


def test_predictor_facts_name_the_boards_of_a_fleet() -> None:
    assert dict(predictor_facts(card()))["Boards, time ratio"] is None
    ratios = (("pi1", 0.98), ("pi2", 1.0345), ("pi3", None))
    boards = tuple(
        BoardCalibration(host=host, num_subnets=10, reference_ms=ratio, time_ratio=ratio)
        for host, ratio in ratios
    )
    facts = dict(predictor_facts(card().model_copy(update={"boards": boards})))
    assert facts["Boards, time ratio"] == "pi1 0.980, pi2 1.034, pi3 unknown"
    assert facts["Mean relative error"] == "2.31%"
    assert facts["Model"] == "regression and MLP"
