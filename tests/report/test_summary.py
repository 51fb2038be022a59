import dataclasses

import pytest
from synthetic import LIMIT_MS, SPACE, deployment, full_inputs, manifest

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import Candidate, Limits, SearchResult
from mosdeploy.report import ReportInputs
from mosdeploy.report.summary import LimitVerdict, is_emulated, summarise


@pytest.mark.parametrize(("bundle_ms", "kept"), [(11.4, True), (LIMIT_MS, True), (12.01, False)])
def test_limit_is_judged_by_the_measured_bundle(bundle_ms: float, kept: bool) -> None:
    headline = summarise(full_inputs(bundle_ms=bundle_ms)).headline
    assert headline.measured == "bundle"
    assert headline.measured_ms == bundle_ms
    assert headline.limit_kept is kept
    assert headline.size_bytes == 9_400_000


@pytest.mark.parametrize(
    "changes",
    [
        {"deployments": ()},
        {"deployments": (deployment(3.0, DeviceProfile(name="xeon")),)},
        {"manifest": manifest(SPACE.largest)},
        {"manifest_sha256": "0" * 64},  # the deployment is of an earlier bundle
    ],
)
def test_without_a_deployment_of_the_bundle_the_candidate_counts(changes: dict) -> None:
    inputs = dataclasses.replace(full_inputs(), **changes)
    winner = inputs.search.winner
    headline = summarise(inputs).headline
    assert (headline.measured, headline.measured_ms) == ("candidate", winner.measured_ms)
    assert headline.limit_kept is True
    assert (headline.size_bytes, headline.num_parameters) == (
        winner.size_bytes,
        winner.num_parameters,
    )


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


@pytest.mark.parametrize(
    ("weights", "scored", "changes", "counts"),
    [
        ("inherited", None, {}, True),
        ("inherited", None, {"supernet": "1" * 64}, False),
        ("finetuned", None, {}, False),
        ("finetuned", "1" * 64, {"subnet": "1" * 64}, True),
        ("finetuned", "1" * 64, {"subnet": "2" * 64}, False),
        # these do not come from a supernet
        ("scratch", "1" * 64, {"subnet": "1" * 64, "supernet": "3" * 64}, True),
    ],
)
def test_scores_are_those_of_the_very_weights_of_the_bundle(
    weights: str, scored: str | None, changes: dict[str, str], counts: bool
) -> None:
    inputs = full_inputs()
    assert inputs.scores is not None and inputs.manifest is not None
    of = {"weights": "inherited" if scored is None else weights, "subnet_sha256": scored}
    found = inputs.scores.subnets["winner"].model_copy(update=of)
    table = inputs.scores.model_copy(update={"subnets": {"any name": found}})
    provenance = {**inputs.manifest.provenance, **changes}
    bundle = inputs.manifest.model_copy(update={"weights": weights, "provenance": provenance})
    headline = summarise(dataclasses.replace(inputs, scores=table, manifest=bundle)).headline
    assert headline.metrics == (found.metrics if counts else {})
    assert headline.unscored == ("" if counts else "run mosdeploy evaluate")


def test_newest_of_two_deployments_counts() -> None:
    old = deployment(9.0).model_copy(update={"deployed_at": "2025-02-01T00:00:00Z"})
    for order in ((old, deployment(11.4)), (deployment(11.4), old)):
        inputs = dataclasses.replace(full_inputs(), deployments=order)
        assert summarise(inputs).headline.measured_ms == 11.4


def test_no_limit_is_judged_on_an_emulated_device() -> None:
    inputs = full_inputs(DeviceProfile(name="rpi", emulated=True))
    assert is_emulated(inputs)
    assert summarise(inputs).headline.limit_kept is None
    other = deployment(3.0, DeviceProfile(name="arm", emulated=True))
    inputs = full_inputs()
    assert not is_emulated(dataclasses.replace(inputs, deployments=(*inputs.deployments, other)))


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


def searched(limits: Limits, **changes: object) -> ReportInputs:
    """A finished run under other limits, and a winner that differs."""
    inputs = full_inputs()
    winner = inputs.search.winner.model_copy(update=changes)
    found = {"limits": limits, "winner": winner, "finalists": (winner,)}
    search = inputs.search.model_copy(update=found)
    return dataclasses.replace(inputs, search=search)


def judged(inputs: ReportInputs) -> LimitVerdict:
    [found] = summarise(inputs).headline.other_limits
    return found


def test_a_size_is_that_of_model_and_tokenizer_once_they_are_built() -> None:
    estimated = searched(Limits(max_size_bytes=1000), size_bytes=990)
    built = dataclasses.replace(estimated, bundle_size_bytes=1010, limited_bytes=1000)
    assert (judged(built).taken, judged(built).kept) == (1000, True)
    assert judged(dataclasses.replace(built, limited_bytes=1001)).kept is False
    # before there is a bundle of it the search has only estimated it
    alone = judged(dataclasses.replace(built, manifest=None, deployments=()))
    assert (alone.taken, alone.kept) == (990, None)
    assert alone.counted == "of model and tokenizer, estimated"


def test_memory_is_the_deployed_bundles_else_what_the_search_measured() -> None:
    inputs = searched(Limits(max_memory_bytes=1000), memory_bytes=2000, measured_memory_bytes=900)
    found = deployment(11.4)
    taken = found.measurement.model_copy(update={"memory_bytes": 1001})
    held = found.model_copy(update={"measurement": taken})
    deployed = judged(dataclasses.replace(inputs, deployments=(held,)))
    assert (deployed.taken, deployed.kept) == (1001, False)
    looser = held.model_copy(update={"max_memory_bytes": 2000})
    found_limit = judged(dataclasses.replace(inputs, deployments=(looser,)))
    assert (found_limit.most, found_limit.kept) == (2000, True)
    searching = dataclasses.replace(inputs, deployments=())
    assert (judged(searching).taken, judged(searching).kept) == (900, True)
    predicted = searched(Limits(max_memory_bytes=1000), memory_bytes=2000)
    unknown = judged(dataclasses.replace(predicted, deployments=()))
    assert (unknown.taken, unknown.kept) == (2000, None)
