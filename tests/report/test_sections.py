import dataclasses

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
from mosdeploy.pipeline.candidates import choices
from mosdeploy.records import BoardCalibration, Candidate, DeviceState, Measurement, SessionRecord
from mosdeploy.report import ReportInputs
from mosdeploy.report.sections import (
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
)
from mosdeploy.report.summary import Agreement, Headline, LimitVerdict, summarise
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


def test_title_claims_no_time_without_one() -> None:
    assert "nothing was measured" in headline_title(headline(measured_ms=None), "runs once")
    assert "no latencies" in headline_title(headline(emulated=True), "runs once")


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


def test_tiles_name_what_is_not_there_yet() -> None:
    missing = {"metrics": {}, "unscored": "run mosdeploy evaluate", "measured_ms": None}
    line = headline(**missing, measured="nothing", limit_ms=None)
    tiles = dict(headline_tiles(line.model_copy(update={"predicted_ms": None}), "Quality"))
    assert tiles["Quality"] == "not yet<small>run mosdeploy evaluate</small>"
    assert tiles["Measured"] == "not yet<small>run mosdeploy deploy</small>"
    predicted = dict(headline_tiles(line, "Quality"))
    assert predicted["Measured"] == "not yet<small>run mosdeploy search</small>"
    assert "Limit" not in tiles and "Predicted" not in tiles


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


def test_a_memory_limit_stands_beside_what_was_taken() -> None:
    found = deployment(11.4)
    taken = found.measurement.model_copy(update={"memory_bytes": 48 * 2**20 + 40_000})
    held = found.model_copy(update={"measurement": taken, "max_memory_bytes": 48 * 2**20})
    table = deployments_table(dataclasses.replace(full_inputs(), deployments=(held,)))
    assert table is not None
    assert "48.0381 MiB of 48 MiB" in str(table.rows[0]) and "broken" in str(table.rows[0])


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
    assert list(rows) == [
        "search space",
        "supernet",
        "latency predictor",
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
