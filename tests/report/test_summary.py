import dataclasses

import pytest
from synthetic import LIMIT_MS, SPACE, deployment, full_inputs, manifest

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import Candidate, Limits, SearchResult
from mosdeploy.report.summary import delivery, is_emulated, summarise


@pytest.mark.parametrize(("bundle_ms", "kept"), [(11.4, True), (LIMIT_MS, True), (12.01, False)])
def test_limit_is_judged_by_the_measured_bundle(bundle_ms: float, kept: bool) -> None:
    headline = summarise(full_inputs(bundle_ms=bundle_ms)).headline
    assert headline.measured == "bundle"
    assert headline.measured_ms == bundle_ms
    assert headline.limit_kept is kept
    assert headline.size_bytes == 9_400_000


def test_parameters_are_those_of_what_was_delivered() -> None:
    """A task's vocabulary may be trimmed."""
    full = full_inputs()
    trimmed = manifest(full.search.winner.arch).model_copy(update={"num_parameters": 12_345})
    inputs = dataclasses.replace(full, manifest=trimmed)
    assert summarise(inputs).headline.num_parameters == 12_345
    undelivered = dataclasses.replace(inputs, deployments=())
    assert summarise(undelivered).headline.num_parameters == inputs.search.winner.num_parameters


def test_without_a_deployment_the_candidate_counts() -> None:
    inputs = dataclasses.replace(full_inputs(), deployments=())
    headline = summarise(inputs).headline
    assert headline.measured == "candidate"
    assert headline.measured_ms == inputs.search.winner.measured_ms
    assert headline.limit_kept is True
    assert headline.size_bytes == inputs.search.winner.size_bytes


def test_deployment_on_another_device_does_not_count() -> None:
    other = deployment(3.0, DeviceProfile(name="xeon"))
    inputs = dataclasses.replace(full_inputs(), deployments=(other,))
    assert summarise(inputs).headline.measured == "candidate"


def test_bundle_of_another_architecture_does_not_count() -> None:
    inputs = dataclasses.replace(full_inputs(), manifest=manifest(SPACE.largest))
    assert delivery(inputs) is None
    assert summarise(inputs).headline.measured == "candidate"


def test_a_finalist_that_was_delivered_in_place_of_the_winner_counts() -> None:
    full = full_inputs()
    search = full.search.model_copy(update={"limits": Limits(max_latency_ms=1000.0)})
    other = next(x for x in search.kept if x.arch != search.winner.arch)
    inputs = dataclasses.replace(full, search=search, manifest=manifest(other.arch))
    headline = summarise(inputs).headline
    assert (headline.winner, headline.measured) == (other.arch.key, "bundle")
    assert headline.predicted_ms == other.predicted_ms
    # its bundle alone, without a deployment, takes nobody's place
    exported = dataclasses.replace(inputs, deployments=())
    assert summarise(exported).headline.winner == inputs.search.winner.arch.key


def beyond_the_finalists(search: SearchResult) -> Candidate:
    return next(x for x in search.front if x.arch not in [c.arch for c in search.kept])


def test_a_picked_bundle_without_a_latency_limit_stands_there() -> None:
    full = full_inputs()
    search = full.search.model_copy(update={"limits": Limits(max_memory_bytes=10**9)})
    beyond = beyond_the_finalists(search)
    held = deployment(11.4).model_copy(update={"limit_ms": None})
    bundle = manifest(beyond.arch)
    inputs = dataclasses.replace(full, search=search, manifest=bundle, deployments=(held,))
    assert summarise(inputs).headline.winner == beyond.arch.key


@pytest.mark.parametrize("limit_ms", [LIMIT_MS - 4.0, None])
def test_a_deployed_bundle_is_judged_by_what_it_was_held_to(limit_ms: float | None) -> None:
    held = deployment(LIMIT_MS - 1.0).model_copy(update={"limit_ms": limit_ms})
    inputs = dataclasses.replace(full_inputs(), deployments=(held,))
    headline = summarise(inputs).headline
    assert (headline.limit_ms, headline.limit_kept) == (limit_ms, held.limit_kept)
    assert headline.predicted_ms == inputs.search.winner.predicted_ms


@pytest.mark.parametrize(("limit_ms", "kept"), [(18.0, True), (9.0, False)])
def test_a_picked_bundle_is_held_to_its_own_limit(limit_ms: float, kept: bool) -> None:
    full = full_inputs(bundle_ms=11.4)
    winner = full.search.winner
    held = deployment(11.4).model_copy(update={"limit_ms": limit_ms})
    full = dataclasses.replace(full, deployments=(held,))
    beyond = beyond_the_finalists(full.search)
    for subnet in (winner, beyond):
        picked = manifest(subnet.arch)
        headline = summarise(dataclasses.replace(full, manifest=picked)).headline
        assert (headline.winner, headline.measured) == (subnet.arch.key, "bundle")
        assert (headline.measured_ms, headline.limit_ms) == (11.4, limit_ms)
        assert headline.limit_kept is kept
        # before it is deployed, the winner stands there with the limit of the search
        exported = dataclasses.replace(full, manifest=picked, deployments=())
        headline = summarise(exported).headline
        assert (headline.winner, headline.limit_ms) == (winner.arch.key, LIMIT_MS)


def test_a_picked_bundle_is_judged_by_its_own_figure() -> None:
    full = full_inputs(bundle_ms=10.0)
    picked = {"limit_ms": 10.5, "statistic": "p90"}
    bundle = manifest(full.search.winner.arch)
    held = deployment(10.0).model_copy(update=picked)
    inputs = dataclasses.replace(full, manifest=bundle, deployments=(held,))
    headline = summarise(inputs).headline
    assert (headline.measured_ms, headline.limit_kept) == (10.0 * 1.06, False)


def test_a_deployment_of_an_earlier_bundle_of_this_name_does_not_count() -> None:
    inputs = dataclasses.replace(full_inputs(), manifest_sha256="0" * 64)
    assert delivery(inputs) is None
    headline = summarise(inputs).headline
    assert (headline.measured, headline.size_bytes) == (
        "candidate",
        inputs.search.winner.size_bytes,
    )


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"precision": "int8"}, True),
        ({"beam": 4}, False),
        ({"precision": "int8", "beam": 4}, False),
    ],
)
def test_a_bundle_counts_if_it_does_what_was_searched_for(changes: dict, counts: bool) -> None:
    inputs = full_inputs()
    assert inputs.manifest is not None
    workload = inputs.manifest.workload.model_copy(update=changes)
    bundle = inputs.manifest.model_copy(update={"workload": workload})
    headline = summarise(dataclasses.replace(inputs, manifest=bundle)).headline
    assert headline.measured == ("bundle" if counts else "candidate")


def test_scores_of_another_beam_or_of_no_known_one_are_not_the_winners() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    assert inputs.scores.workload is not None
    assert summarise(inputs).headline.scored == "greedy, in torch"
    for workload in (inputs.scores.workload.model_copy(update={"beam": 4}), None):
        table = inputs.scores.model_copy(update={"workload": workload})
        headline = summarise(dataclasses.replace(inputs, scores=table)).headline
        assert (headline.metrics, headline.scored) == ({}, "")


def test_scores_of_weights_that_were_trained_again_do_not_count() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    assert inputs.manifest is not None
    changes = {"weights": "finetuned", "subnet_sha256": "1" * 64}
    scored = inputs.scores.subnets["winner"].model_copy(update=changes)
    table = inputs.scores.model_copy(update={"subnets": {"winner, finetuned": scored}})
    newer = "run mosdeploy export: there are newer weights"
    for digest, metrics, told in (("1" * 64, scored.metrics, ""), ("2" * 64, {}, newer)):
        provenance = {**inputs.manifest.provenance, "subnet": digest}
        bundle = inputs.manifest.model_copy(
            update={"weights": "finetuned", "provenance": provenance}
        )
        found = summarise(dataclasses.replace(inputs, scores=table, manifest=bundle))
        assert (found.headline.metrics, found.headline.unscored) == (metrics, told)


def test_scores_of_a_supernet_trained_again_do_not_count() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    assert inputs.manifest is not None
    provenance = {**inputs.manifest.provenance, "supernet": "1" * 64}
    bundle = inputs.manifest.model_copy(update={"provenance": provenance})
    assert bundle.weights == "inherited"
    headline = summarise(dataclasses.replace(inputs, manifest=bundle)).headline
    told = "run mosdeploy export: there are newer weights"
    assert (headline.metrics, headline.unscored) == ({}, told)
    # the same bundle, of weights that do not come from a supernet
    scored = inputs.scores.subnets["winner"].model_copy(
        update={"weights": "scratch", "subnet_sha256": "2" * 64}
    )
    table = inputs.scores.model_copy(update={"subnets": {"winner, scratch": scored}})
    provenance["subnet"] = "2" * 64
    bundle = bundle.model_copy(update={"weights": "scratch", "provenance": provenance})
    headline = summarise(dataclasses.replace(inputs, scores=table, manifest=bundle)).headline
    assert (headline.metrics, headline.unscored) == (scored.metrics, "")


def test_what_scores_another_finalist_than_the_winner_names_it() -> None:
    inputs = dataclasses.replace(full_inputs(), scores=None)
    assert summarise(inputs).headline.unscored == "run mosdeploy evaluate"
    other = next(x for x in inputs.search.front if x.arch != inputs.search.winner.arch)
    assert inputs.manifest is not None
    bundle = inputs.manifest.model_copy(update={"arch": other.arch})
    found = summarise(dataclasses.replace(inputs, manifest=bundle)).headline
    assert found.unscored == f"run mosdeploy evaluate --pick {other.arch.key}"


def test_newest_of_two_deployments_counts() -> None:
    old = deployment(9.0).model_copy(update={"deployed_at": "2025-02-01T00:00:00Z"})
    for order in ((old, deployment(11.4)), (deployment(11.4), old)):
        inputs = dataclasses.replace(full_inputs(), deployments=order)
        assert summarise(inputs).headline.measured_ms == 11.4


def test_no_limit_is_judged_on_an_emulated_device() -> None:
    inputs = full_inputs(DeviceProfile(name="rpi", emulated=True))
    assert is_emulated(inputs)
    assert summarise(inputs).headline.limit_kept is None


def test_another_emulated_device_does_not_matter() -> None:
    emulated = deployment(3.0, DeviceProfile(name="arm", emulated=True))
    inputs = full_inputs()
    inputs = dataclasses.replace(inputs, deployments=(*inputs.deployments, emulated))
    assert not is_emulated(inputs)


def test_scores_are_the_winners_whatever_their_name() -> None:
    inputs = full_inputs()
    assert inputs.scores is not None
    assert summarise(inputs).headline.metrics == {"BLEU": 24.1, "chrF": 46.6}
    renamed = {"best": inputs.scores.subnets["winner"]}
    table = inputs.scores.model_copy(update={"subnets": renamed})
    found = summarise(dataclasses.replace(inputs, scores=table)).headline.metrics
    assert list(found.items()) == [("BLEU", 24.1), ("chrF", 46.6)]
    others = {name: x for name, x in inputs.scores.subnets.items() if name != "winner"}
    table = inputs.scores.model_copy(update={"subnets": others})
    assert summarise(dataclasses.replace(inputs, scores=table)).headline.metrics == {}


def test_scores_are_those_of_the_bundles_weights() -> None:
    inputs = full_inputs()
    assert inputs.manifest is not None
    finetuned = inputs.manifest.model_copy(update={"weights": "finetuned"})
    inputs = dataclasses.replace(inputs, manifest=finetuned)
    assert summarise(inputs).headline.metrics == {}


def test_finalists_are_new_to_the_predictor() -> None:
    inputs = full_inputs()
    agreement = summarise(inputs).agreement
    assert sum(x.fitted for x in agreement) == len(inputs.records)
    fresh = {x.key for x in agreement if not x.fitted}
    finalists = {x.arch.key for x in inputs.search.finalists}
    assert fresh == finalists - {x.arch.key for x in inputs.records}


def test_a_finalist_is_compared_as_the_predictor_says() -> None:
    inputs = full_inputs()
    corrected = inputs.search.model_copy(update={"level": 2.0})
    now = summarise(dataclasses.replace(inputs, search=corrected))
    ratios = [
        (old.fitted, old.predicted_ms / new.predicted_ms)
        for old, new in zip(summarise(inputs).agreement, now.agreement, strict=True)
    ]
    assert set(ratios) == {(True, 1.0), (False, 2.0)}
    # the headline says the same of one net
    shown = {x.key: x.predicted_ms for x in now.agreement}
    assert now.headline.predicted_ms == shown[now.headline.winner]


def test_failed_measurement_is_left_out() -> None:
    inputs = full_inputs()
    measurement = inputs.records[0].measurement.model_copy(
        update={"total": None, "error": "out of memory"}
    )
    failed = inputs.records[0].model_copy(update={"measurement": measurement})
    fewer = dataclasses.replace(inputs, records=(failed, *inputs.records[1:]))
    assert len(summarise(fewer).agreement) == len(summarise(inputs).agreement) - 1


def test_one_prediction_for_each_record() -> None:
    with pytest.raises(ValueError, match="zip"):
        summarise(dataclasses.replace(full_inputs(), predicted_ms=(1.0,)))
