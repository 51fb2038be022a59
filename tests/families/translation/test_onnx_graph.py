import json
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from export_fixtures import space, trained_subnet  # noqa: F401
from networks import (
    EOS_ID,
    MAX_POSITIONS,
    VOCAB_SIZE,
    lively_subnet,
    make_space,
    open_subnet,
    random_sources,
    run,
    small_space,
    until_end,
)
from onnx import checker

from mosdeploy.errors import ArchError, ExportError
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import build_graph, state_arrays, write_model
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace

LENGTHS = (1, 2, 5, 9, 14)


def build(subnet: Subnet, space: TranslationSpace, **changed: object):
    settings = {
        "beam": 1,
        "length_penalty": 0.6,
        "precision": "fp32",
        "max_positions": MAX_POSITIONS,
        **changed,
    }
    return build_graph(
        subnet.arch, space, VOCAB_SIZE, state_arrays(subnet.state_dict()), **settings
    )


# -- the law: the graph translates as torch does
# -----------------------------------------------------------------------


@pytest.mark.parametrize("beam", [1, 2, 4])
def test_padded_batches_translate_as_in_torch(space: TranslationSpace, beam: int) -> None:
    rng, answers = np.random.default_rng(beam), []
    for seed in range(5):
        subnet, sources = (
            lively_subnet(space.sample(rng), space, seed),
            random_sources(LENGTHS, seed),
        )
        expected = translate(subnet, sources, beam, 30, 0.6)
        assert [
            until_end(row) for row in run(open_subnet(subnet, space, beam=beam), sources, 30)
        ] == expected
        answers += expected
    lengths = {len(ids) for ids in answers}
    assert 30 in lengths and len(lengths) > 2, (
        "the test needs sentences that end, and some that do not"
    )
    assert (
        len({tuple(ids) for ids in answers}) > 10
        and np.mean([len(set(ids)) for ids in answers]) > 1.5
    )


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beams_close_when_torch_closes_them(trained_subnet: Subnet, length_penalty: float) -> None:
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, 12, length).tolist() for length in rng.integers(1, 6, 40)]
    session = open_subnet(trained_subnet, small_space(), beam=3, length_penalty=length_penalty)
    expected = translate(trained_subnet, sources, 3, 12, length_penalty)
    assert [until_end(row) for row in run(session, sources, 12)] == expected
    assert 0 < sum(map(len, expected)) < 12 * len(sources)


@pytest.mark.parametrize(("encoder_dim", "decoder_dim"), list(product((20, 32), (20, 28))))
def test_unequal_widths(space: TranslationSpace, encoder_dim: int, decoder_dim: int) -> None:
    widths = {"encoder_embed_dim": encoder_dim, "decoder_embed_dim": decoder_dim}
    arch = space.largest.model_copy(update=widths)
    subnet, sources = lively_subnet(arch, space, 3), random_sources(LENGTHS, 3)
    found = [until_end(row) for row in run(open_subnet(subnet, space), sources, 20)]
    assert found == translate(subnet, sources, 1, 20, 0.6)


@pytest.mark.parametrize("span", [1, 2, 3])
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_cross_spans_and_heads(space: TranslationSpace, span: int, heads: int) -> None:
    layer = space.largest.decoder_layers[0].model_copy(
        update={"cross_span": span, "cross_heads": heads}
    )
    arch = space.largest.model_copy(update={"decoder_layers": (layer,)})
    subnet, sources = lively_subnet(arch, space, span), random_sources(LENGTHS, span)
    found = [until_end(row) for row in run(open_subnet(subnet, space), sources, 20)]
    assert found == translate(subnet, sources, 1, 20, 0.6)


@pytest.mark.parametrize(("precision", "beam"), [("fp32", 1), ("fp32", 3), ("fp32-int4-logits", 1)])
def test_every_length_up_to_the_limit_and_any_batch(
    trained_subnet: Subnet, precision: str, beam: int
) -> None:
    """From no piece at all to the last position; the first holds nothing but unknown pieces."""
    session = open_subnet(trained_subnet, small_space(), precision, beam)
    sources = [[1, 1, 1], *random_sources(range(MAX_POSITIONS), 0)]
    expected = translate(trained_subnet, sources, beam, MAX_POSITIONS, 0.6)
    assert [until_end(run(session, [ids], MAX_POSITIONS)[0]) for ids in sources] == expected
    assert [until_end(row) for row in run(session, sources, MAX_POSITIONS)] == expected


@pytest.mark.parametrize("max_steps", [1, 2, 3])
@pytest.mark.parametrize("beam", [1, 3])
def test_few_steps(space: TranslationSpace, beam: int, max_steps: int) -> None:
    subnet, sources = lively_subnet(space.largest, space, 0), random_sources(LENGTHS, 0)
    found = run(open_subnet(subnet, space, beam=beam), sources, max_steps)
    assert [until_end(row) for row in found] == translate(subnet, sources, beam, max_steps, 0.6)


# -- step limits -----------------------------------------------------------------------------------
# --------------------


def test_only_padding_follows_the_end(trained_subnet: Subnet) -> None:
    rows = run(open_subnet(trained_subnet, small_space()), [[4], [5, 6, 7, 8]], 20).tolist()
    assert len({row.index(EOS_ID) for row in rows}) == 2, (
        "the test needs sentences that end at different steps"
    )
    for row in rows:
        assert set(row[row.index(EOS_ID) + 1 :]) <= {0}
    assert max(row.index(EOS_ID) for row in rows) == len(rows[0]) - 1, (
        "the loop stops when all have ended"
    )


@pytest.mark.parametrize("beam", [1, 3])
def test_min_steps_keeps_the_loop_running_and_changes_no_answer(
    trained_subnet: Subnet, beam: int
) -> None:
    session = open_subnet(trained_subnet, small_space(), beam=beam)
    short, long = run(session, [[4], [5, 6]], 20), run(session, [[4], [5, 6]], 20, min_steps=20)
    assert short.shape[1] < long.shape[1] == 20
    assert (long[:, : short.shape[1]] == short).all() and not long[:, short.shape[1] :].any()


@pytest.mark.parametrize("beam", [1, 3])
def test_no_steps_still_runs_the_encoder_and_the_cross_attention_memories(
    space: TranslationSpace, beam: int, tmp_path
) -> None:
    subnet = lively_subnet(space.largest, space, 0)
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    model = build(subnet, space, beam=beam).SerializeToString()
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
# --------------------


@pytest.mark.parametrize("beam", [1, 3])
def test_the_model_is_well_formed(space: TranslationSpace, beam: int) -> None:
    model = build(lively_subnet(space.largest, space, 0), space, beam=beam)
    checker.check_model(model)
    assert {x.name for x in model.graph.input} == {"source_ids", "max_steps", "min_steps"}
    assert [x.name for x in model.graph.output] == ["output_ids"]


def test_a_model_is_written_whole_and_without_a_copy(
    space: TranslationSpace, tmp_path: Path
) -> None:
    subnet = lively_subnet(space.largest, space, 0)
    model = build(subnet, space)
    write_model(model, tmp_path / "model.onnx")
    assert (
        onnx.load(tmp_path / "model.onnx") == build(subnet, space) and not model.graph.initializer
    )


def test_no_attention_in_the_loop_relies_on_a_padding_mask(space: TranslationSpace) -> None:
    """ONNX Runtime before 1.21 ignores it when keys come projected and split into heads."""
    nodes = build(lively_subnet(space.largest, space, 0), space).graph.node
    (loop,) = (node for node in nodes if node.op_type == "Loop")
    (body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
    attentions = [list(node.input) for node in body.node if node.op_type == "MultiHeadAttention"]
    assert len(attentions) == 4 and all(inputs[4] == "" for inputs in attentions)
    assert sum(len(inputs) == 6 and inputs[5] != "" for inputs in attentions) == 2


def test_every_weight_is_stored_once(space: TranslationSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        arch = space.sample(rng)
        model = build(lively_subnet(arch, space, 0), space)
        stored = [
            x
            for x in model.graph.initializer
            if x.data_type == 1 and not x.name.startswith("float32[")
        ]
        elements = sum(int(np.prod(x.dims)) for x in stored)
        assert elements == num_parameters(space, arch, VOCAB_SIZE)


# -- bad input -------------------------------------------------------------------------------------
# --------------------


def test_an_architecture_outside_the_space() -> None:
    space = make_space("pre")
    subnet = lively_subnet(space.largest, space, 0)
    subnet.arch = TranslationArch.model_validate_json(
        space.largest.model_dump_json().replace('"ffn_dim":40', '"ffn_dim":41')
    )
    with pytest.raises(ArchError, match="ffn_dim is 41"):
        build(subnet, space)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("decoder.norm.bias", None, "no weight 'decoder.norm.bias'"),
        (
            "decoder.norm.bias",
            np.zeros(23, np.float32),
            r"'decoder.norm.bias' is \(23,\).* asks for \(24,\)",
        ),
        ("encoder.layers.0.fc1.weight", np.full((48, 24), np.nan, np.float32), "NaN"),
    ],
)
def test_weights_that_do_not_fit(name: str, array: np.ndarray | None, message: str) -> None:
    space = small_space()
    arrays = state_arrays(Subnet(space.largest, space, VOCAB_SIZE).state_dict())
    arrays.pop(name)
    if array is not None:
        arrays[name] = array
    with pytest.raises(ExportError, match=message):
        build_graph(
            space.largest,
            space,
            VOCAB_SIZE,
            arrays,
            beam=1,
            length_penalty=0.6,
            precision="fp32",
            max_positions=8,
        )
