"""A graph with a shortlist against torch with the same shortlist."""

import numpy as np
import pytest
from export_fixtures import space  # noqa: F401
from networks import (
    MAX_POSITIONS,
    VOCAB_SIZE,
    TranslationSubnet,
    lively_subnet,
    open_model,
    random_sources,
    run,
    spec_of,
    until_end,
)
from onnxruntime import InferenceSession

from mosdeploy.errors import ExportError
from mosdeploy.export.onnx.initializers import ExternalInitializers
from mosdeploy.export.onnx.model import GraphOptions, state_arrays
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.graph_options import TranslationGraphOptions
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.shortlist import Shortlist
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.spaces.translation_workload import TranslationWorkload

NUM_TOKENS = 2
LENGTHS = (1, 2, 4, 5)


def open_shortlisted(
    subnet: TranslationSubnet, space: TranslationSpace, shortlist: Shortlist, **workload: object
) -> InferenceSession:
    spec = spec_of(space, **workload).with_workload(shortlist=NUM_TOKENS)
    options = TranslationGraphOptions(max_positions=MAX_POSITIONS, shortlist=shortlist)
    return open_model(build_graph(spec, subnet.arch, state_arrays(subnet.state_dict()), options))


def shortlist_of(beam: int) -> Shortlist:
    return Shortlist.made_up(VOCAB_SIZE, NUM_TOKENS, 2 * max(NUM_TOKENS, beam))


@pytest.mark.parametrize("beam", [1, 3])
def test_batches_and_sentences_answer_as_torch_does(space: TranslationSpace, beam: int) -> None:
    subnet = lively_subnet(space.largest, space, 1)
    shortlist = shortlist_of(beam)
    sources = random_sources(LENGTHS, 1)
    expected = translate(subnet, sources, beam, 20, 0.6, shortlist=shortlist)
    session = open_shortlisted(subnet, space, shortlist, beam=beam)
    assert [until_end(row) for row in run(session, sources, 20)] == expected
    assert [until_end(run(session, [ids], 20)[0]) for ids in sources] == expected
    assert expected != translate(subnet, sources, beam, 20, 0.6), "the shortlist must matter"
    for ids, answer in zip(sources, expected, strict=True):
        allowed = shortlist.allowed(np.array([[*ids, 3]]))[0]
        assert allowed[answer].all()
    assert any(expected)


@pytest.mark.parametrize("precision", TranslationWorkload.precisions)
@pytest.mark.parametrize("beam", [1, 3])
def test_every_precision_keeps_to_the_shortlist(
    space: TranslationSpace, precision: str, beam: int
) -> None:
    subnet = lively_subnet(space.largest, space, 2)
    shortlist = shortlist_of(beam)
    session = open_shortlisted(subnet, space, shortlist, precision=precision, beam=beam)
    sources = random_sources(LENGTHS, 2)
    for ids, row in zip(sources, run(session, sources, 12), strict=True):
        answer = until_end(row)
        assert shortlist.allowed(np.array([[*ids, 3]]))[0, answer].all()


@pytest.mark.parametrize("beam", [1, 3])
def test_one_of_all_tokens_changes_no_answer(space: TranslationSpace, beam: int) -> None:
    subnet = lively_subnet(space.largest, space, 3)
    sources = random_sources(LENGTHS, 3)
    table = np.full((VOCAB_SIZE, NUM_TOKENS), 3)
    everything = Shortlist(table, np.arange(VOCAB_SIZE))
    session = open_shortlisted(subnet, space, everything, beam=beam)
    found = [until_end(row) for row in run(session, sources, 20)]
    assert found == translate(subnet, sources, beam, 20, 0.6)


def test_a_beam_may_be_wider_than_half_of_the_vocabulary(space: TranslationSpace) -> None:
    beam = VOCAB_SIZE // 2 + 1
    subnet = lively_subnet(space.largest, space, 3)
    shortlist = shortlist_of(beam)
    sources = random_sources(LENGTHS, 3)
    session = open_shortlisted(subnet, space, shortlist, beam=beam)
    found = [until_end(row) for row in run(session, sources, 8)]
    assert found == translate(subnet, sources, beam, 8, 0.6, shortlist=shortlist)


def test_one_that_is_made_up_in_the_graph_is_that_of_the_table(space: TranslationSpace) -> None:
    """A candidate, with its weights put in, against torch with the table."""
    subnet = lively_subnet(space.largest, space, 4)
    spec = spec_of(space).with_workload(shortlist=NUM_TOKENS)
    options = GraphOptions(max_positions=MAX_POSITIONS)
    candidate = build_graph(spec, subnet.arch, ExternalInitializers(), options)
    weighted = build_graph(spec_of(space), subnet.arch, state_arrays(subnet.state_dict()), options)
    tensors = {tensor.name: tensor for tensor in weighted.graph.initializer}
    for tensor in candidate.graph.initializer:
        if tensor.name in tensors:
            tensor.CopyFrom(tensors[tensor.name])
    sources = random_sources((5,), 4)
    found = [until_end(row) for row in run(open_model(candidate), sources, 20)]
    assert found == translate(subnet, sources, 1, 20, 0.6, shortlist=shortlist_of(1))


def test_weights_without_the_shortlist_are_refused(space: TranslationSpace) -> None:
    subnet = lively_subnet(space.largest, space, 5)
    spec = spec_of(space).with_workload(shortlist=NUM_TOKENS)
    with pytest.raises(ExportError, match="shortlist of 2"):
        build_graph(spec, subnet.arch, state_arrays(subnet.state_dict()))
