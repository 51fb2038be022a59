"""What each limit but that on latency is judged by."""

import dataclasses

from synthetic import DEVICE, deployment, full_inputs

from mosdeploy.records import Limits
from mosdeploy.report import ReportInputs
from mosdeploy.report.limits import LimitVerdict
from mosdeploy.report.summary import summarise


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


def test_a_limit_on_latency_is_no_other_limit() -> None:
    assert summarise(full_inputs()).headline.other_limits == ()


def test_a_size_is_that_of_model_and_tokenizer_once_they_are_built() -> None:
    estimated = searched(Limits(max_size_bytes=1000), size_bytes=990)
    built = dataclasses.replace(estimated, bundle_size_bytes=1010, limited_bytes=1000)
    assert (judged(built).taken, judged(built).kept) == (1000, True)
    assert judged(dataclasses.replace(built, limited_bytes=1001)).kept is False
    # before there is a bundle of it the search has only estimated it
    alone = judged(dataclasses.replace(built, manifest=None, deployments=()))
    assert (alone.taken, alone.kept) == (990, None)
    assert alone.counted == "of model and tokenizer, estimated"


def test_parameters_are_counted_exactly() -> None:
    most = full_inputs().search.winner.num_parameters
    assert judged(searched(Limits(max_parameters=most))).kept is True
    encoder = searched(Limits(max_body_parameters=10), num_body_parameters=11)
    assert judged(encoder).kept is False
    assert judged(searched(Limits(max_body_parameters=10))).kept is None  # an older record


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


def test_memory_on_an_emulated_device_is_not_judged() -> None:
    inputs = searched(Limits(max_memory_bytes=1000), measured_memory_bytes=900)
    emulated = deployment(11.4, DEVICE.model_copy(update={"emulated": True}))
    taken = emulated.measurement.model_copy(update={"memory_bytes": 900})
    held = emulated.model_copy(update={"measurement": taken})
    assert judged(dataclasses.replace(inputs, deployments=(held,))).kept is None
