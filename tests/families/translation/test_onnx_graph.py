import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from bundles import VOCAB_SIZE, in_torch, lively_subnet, random_sources, spec_of
from networks import (  # noqa: F401
    MAX_POSITIONS,
    PRECISIONS,
    TranslationSubnet,
    build_subnet,
    open_model,
    open_subnet,
    run,
    small_space,
    space,
    trained_subnet,
    until_end,
)
from onnx import TensorProto, checker
from onnxruntime import InferenceSession

from mosdeploy.errors import ExportError
from mosdeploy.export.onnx.builder import ExternalInitializers, GraphOptions, state_arrays
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.scoring import translate
from mosdeploy.families.translation.shortlist import Shortlist, TranslationGraphOptions
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload

LENGTHS = (1, 2, 5, 9, 14)


# -- the law: the graph translates as torch does ---------------------------------------------------


@pytest.mark.parametrize("beam", [1, 2, 4])
def test_padded_batches_translate_as_in_torch(space: TranslationSpace, beam: int) -> None:
    rng = np.random.default_rng(beam)
    answers = []
    for seed in range(5):
        subnet = lively_subnet(space, space.sample(rng), seed)
        sources = random_sources(LENGTHS, seed)
        expected = in_torch(subnet, sources, beam, 30)
        found = run(open_subnet(subnet, space, beam=beam), sources, 30)
        assert [until_end(row) for row in found] == expected
        answers += expected
    lengths = {len(ids) for ids in answers}
    assert 30 in lengths and len(lengths) > 2, "the test needs sentences of different length"
    assert len({tuple(ids) for ids in answers}) > 10
    assert np.mean([len(set(ids)) for ids in answers]) > 1.5


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beams_close_when_torch_closes_them(
    trained_subnet: TranslationSubnet, length_penalty: float
) -> None:
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, 12, length).tolist() for length in rng.integers(1, 6, 40)]
    session = open_subnet(trained_subnet, small_space(), beam=3, length_penalty=length_penalty)
    expected = in_torch(trained_subnet, sources, 3, 12, length_penalty)
    assert [until_end(row) for row in run(session, sources, 12)] == expected
    assert 0 < sum(map(len, expected)) < 12 * len(sources)


@pytest.mark.parametrize("span", [1, 2, 3])
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_cross_spans_and_heads(space: TranslationSpace, span: int, heads: int) -> None:
    layer = space.largest.decoder_layers[0].model_copy(
        update={"cross_span": span, "cross_heads": heads}
    )
    arch = space.largest.model_copy(update={"decoder_layers": (layer,)})
    subnet = lively_subnet(space, arch, span)
    sources = random_sources(LENGTHS, span)
    found = [until_end(row) for row in run(open_subnet(subnet, space), sources, 20)]
    assert found == in_torch(subnet, sources, 1, 20)


@pytest.mark.parametrize(("precision", "beam"), [("fp32", 1), ("fp32", 3), ("fp32-int4-logits", 1)])
def test_every_length_up_to_the_limit_and_any_batch(
    trained_subnet: TranslationSubnet, precision: str, beam: int
) -> None:
    """From no token at all to the last position; the first holds nothing but unknown tokens."""
    session = open_subnet(trained_subnet, small_space(), precision, beam)
    sources = [[1, 1, 1], *random_sources(range(MAX_POSITIONS), 0)]
    expected = in_torch(trained_subnet, sources, beam, MAX_POSITIONS)
    assert [until_end(run(session, [ids], MAX_POSITIONS)[0]) for ids in sources] == expected
    assert [until_end(row) for row in run(session, sources, MAX_POSITIONS)] == expected


# -- step limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("beam", [1, 3])
def test_min_steps_keeps_running_and_changes_no_answer(
    trained_subnet: TranslationSubnet, beam: int
) -> None:
    session = open_subnet(trained_subnet, small_space(), beam=beam)
    short = run(session, [[4], [5, 6]], 20)
    long = run(session, [[4], [5, 6]], 20, min_steps=20)
    assert short.shape[1] < long.shape[1] == 20
    assert (long[:, : short.shape[1]] == short).all() and not long[:, short.shape[1] :].any()


@pytest.mark.parametrize("beam", [1, 3])
def test_no_steps_still_runs_what_stands_before_the_loop(
    space: TranslationSpace, beam: int, tmp_path: Path
) -> None:
    subnet = lively_subnet(space, space.largest, 0)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    model = build_subnet(subnet, space, beam=beam).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    assert run(session, [[4, 5], [6]], 0).shape == (2, 0)
    events = json.loads(Path(session.end_profiling()).read_text())
    kinds = [
        event["args"].get("op_name") for event in events if event["name"].endswith("_kernel_time")
    ]
    arch = space.largest
    products = sum(kind in ("MatMul", "Gemm", "FusedMatMul", "FusedGemm") for kind in kinds)
    assert products == 4 * len(arch.encoder_layers) + len(arch.decoder_layers)


# -- form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beam", [1, 3])
def test_the_model_is_well_formed(space: TranslationSpace, beam: int) -> None:
    model = build_subnet(lively_subnet(space, space.largest, 0), space, beam=beam)
    checker.check_model(model)
    assert [x.name for x in model.graph.input] == ["source_ids", "max_steps", "min_steps"]
    assert [x.name for x in model.graph.output] == ["output_ids"]


def test_no_attention_in_the_loop_relies_on_a_padding_mask(space: TranslationSpace) -> None:
    """ONNX Runtime before 1.21 ignores it when keys come projected and split into heads."""
    nodes = build_subnet(lively_subnet(space, space.largest, 0), space).graph.node
    (loop,) = (node for node in nodes if node.op_type == "Loop")
    (body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
    attentions = [list(node.input) for node in body.node if node.op_type == "MultiHeadAttention"]
    assert len(attentions) == 4 and all(inputs[4] == "" for inputs in attentions)
    assert sum(len(inputs) == 6 and inputs[5] != "" for inputs in attentions) == 2


def test_every_weight_is_stored_once(space: TranslationSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        arch = space.sample(rng)
        model = build_subnet(lively_subnet(space, arch, 0), space)
        stored = sum(
            int(np.prod(tensor.dims))
            for tensor in model.graph.initializer
            if tensor.data_type == TensorProto.FLOAT and not tensor.name.startswith("float32[")
        )
        assert stored == spec_of(space).num_parameters(arch)


# -- precisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("beam", [1, 3])
def test_every_precision_translates_as_torch_or_nearly(
    trained_subnet: TranslationSubnet, precision: str, beam: int
) -> None:
    rng = np.random.default_rng(1)
    sources = [rng.integers(4, 12, length).tolist() for length in rng.integers(1, 6, 60)]
    expected = in_torch(trained_subnet, sources, beam, 12)
    rows = run(open_subnet(trained_subnet, small_space(), precision, beam), sources, 12)
    found = [until_end(row) for row in rows]
    same = sum(a == b for a, b in zip(found, expected, strict=True)) / len(sources)
    assert same >= {"fp32": 1.0, "fp32-int4-logits": 1.0, "int4": 0.7}.get(precision, 0.9)
    assert len({tuple(ids) for ids in expected}) > 15


NUM_TOKENS = 2
SHORT_LENGTHS = (1, 2, 4, 5)


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
    subnet = lively_subnet(space, space.largest, 1)
    shortlist = shortlist_of(beam)
    sources = random_sources(SHORT_LENGTHS, 1)
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
    subnet = lively_subnet(space, space.largest, 2)
    shortlist = shortlist_of(beam)
    session = open_shortlisted(subnet, space, shortlist, precision=precision, beam=beam)
    sources = random_sources(SHORT_LENGTHS, 2)
    for ids, row in zip(sources, run(session, sources, 12), strict=True):
        answer = until_end(row)
        assert shortlist.allowed(np.array([[*ids, 3]]))[0, answer].all()


def test_one_that_is_made_up_in_the_graph_is_that_of_the_table(space: TranslationSpace) -> None:
    """A candidate, with its weights put in, against torch with the table."""
    subnet = lively_subnet(space, space.largest, 4)
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
    subnet = lively_subnet(space, space.largest, 5)
    spec = spec_of(space).with_workload(shortlist=NUM_TOKENS)
    with pytest.raises(ExportError, match="shortlist of 2"):
        build_graph(spec, subnet.arch, state_arrays(subnet.state_dict()))
