from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import VOCAB_SIZE, spec_of
from example_spaces import WMT, space_of
from networks import PRECISIONS, TranslationSubnet, run

from mosdeploy.export.candidate import build_candidate, bundle_bytes, candidate_weights_bytes
from mosdeploy.export.onnx.builder import ExternalInitializers, GraphOptions, state_arrays
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.shortlist import Shortlist, TranslationGraphOptions
from mosdeploy.spaces.translation import TranslationSpace

WORKLOADS = [
    {"source_len": 9, "decode_steps": 7, "beam": beam, "precision": precision}
    for beam in (1, 3)
    for precision in PRECISIONS
]


def name_of(workload: dict) -> str:
    return f"{workload['precision']}-beam{workload['beam']}"


def spans(model: onnx.ModelProto) -> list[tuple[int, int]]:
    """Offset and length of each external initialiser, in order."""
    found = []
    for tensor in model.graph.initializer:
        entry = {item.key: item.value for item in tensor.external_data}
        if entry:
            assert entry["location"] == "weights.bin"
            found.append((int(entry["offset"]), int(entry["length"])))
    return sorted(found)


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_a_candidate_runs_its_workload_on_random_weights(
    space: TranslationSpace, workload: dict, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    spec = spec_of(space, **workload)
    size = candidate_weights_bytes(spec, build_graph)
    rng.normal(0, 0.05, size // 4 + 1).astype(np.float32).tofile(tmp_path / "weights.bin")
    path = tmp_path / "model.onnx"
    for _ in range(3):
        path.write_bytes(build_candidate(spec, space.sample(rng), build_graph))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        sources = [list(range(4, 12))]
        assert run(session, sources, 7, 7).shape == (1, 7)
        assert run(session, sources, 0, 0).shape == (1, 0)


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_weights_lie_apart_aligned_and_within_the_file(
    space: TranslationSpace, workload: dict
) -> None:
    rng = np.random.default_rng(0)
    spec = spec_of(space, **workload)
    size = candidate_weights_bytes(spec, build_graph)
    for _ in range(10):
        model = onnx.load_from_string(build_candidate(spec, space.sample(rng), build_graph))
        placed = spans(model)
        assert all(offset % 64 == 0 for offset, _ in placed)
        assert all(a + length <= b for (a, length), (b, _) in pairwise(placed))
        assert placed[-1][0] + placed[-1][1] <= size
        assert all(len(tensor.raw_data) <= 1024 for tensor in model.graph.initializer)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_candidate_has_the_nodes_of_the_export(space: TranslationSpace, precision: str) -> None:
    spec = spec_of(space, source_len=9, decode_steps=7, precision=precision)
    candidate = onnx.load_from_string(build_candidate(spec, space.largest, build_graph))
    arrays = state_arrays(TranslationSubnet(space.largest, space, VOCAB_SIZE).state_dict())
    export = build_graph(spec, space.largest, arrays, GraphOptions(max_positions=9))
    assert list(candidate.graph.node) == list(export.graph.node)
    candidate_tensors, export_tensors = (
        [(x.name, x.data_type, tuple(x.dims)) for x in model.graph.initializer]
        for model in (candidate, export)
    )
    assert candidate_tensors == export_tensors


def test_a_candidate_of_wmt_size_is_small() -> None:
    for workload in ({}, {"beam": 5, "precision": "int8"}):
        spec = spec_of(WMT, 32_000, **workload)
        assert len(build_candidate(spec, WMT.largest, build_graph)) < 64 * 1024
    spec = spec_of(WMT, 32_000)
    expected = 4 * spec.num_parameters(WMT.largest)
    assert candidate_weights_bytes(spec, build_graph) == pytest.approx(expected, rel=0.01)


def test_the_file_serves_every_combination_of_widths() -> None:
    """A wider decoder can make the encoder's part of the table vanish: not always the largest."""
    calls = []

    def record(spec, arch, weights, options):
        calls.append((arch.encoder_embed_dim, arch.decoder_embed_dim, options))
        return build_graph(spec, arch, weights, options)

    candidate_weights_bytes(spec_of(WMT, 100), record)
    assert calls == [(e, d, None) for e in (512, 640) for d in (512, 640)]


def test_the_file_serves_narrower_ffns_of_smaller_blocks() -> None:
    """480 inputs make 15 blocks of 32 and 512 make 4 of 128, which take fewer bytes."""
    choices = {"decoder_ffn_dim": (480, 512), "encoder_ffn_dim": (512,)}
    spec = spec_of(WMT.model_copy(update=choices), 100, precision="int4")
    largest = spec.space.largest
    layers = tuple(x.model_copy(update={"ffn_dim": 480}) for x in largest.decoder_layers)
    sizes = []
    for arch in (largest, largest.model_copy(update={"decoder_layers": layers})):
        weights = ExternalInitializers()
        build_graph(spec, arch, weights, None)
        sizes.append(weights.size_bytes)
    assert sizes[0] < sizes[1] <= candidate_weights_bytes(spec, build_graph)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bundle_bytes_is_the_size_of_the_model(space: TranslationSpace, precision: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        arch = space.sample(rng)
        spec = spec_of(space, 2000, precision=precision, beam=int(rng.integers(1, 3)))
        arrays = state_arrays(TranslationSubnet(arch, space, 2000).state_dict())
        model = build_graph(spec, arch, arrays, GraphOptions(max_positions=192))
        assert bundle_bytes(spec, arch, build_graph) == pytest.approx(model.ByteSize(), rel=0.02)


@pytest.mark.parametrize("beam", [1, 3])
def test_bundle_bytes_are_those_of_the_beam(beam: int) -> None:
    """A greedy step has its matrices in blocks, of which 136 inputs do not fill the last."""
    width = (136,)
    space = space_of(
        embed_dim=width, layers=(2,), ffn_dim=width, heads=(1,), qkv_dim=136, norm="pre"
    )
    arch = space.largest
    spec = spec_of(space, precision="int8-int4-logits", beam=beam)
    arrays = state_arrays(TranslationSubnet(arch, space, VOCAB_SIZE).state_dict())
    size = build_graph(spec, arch, arrays, GraphOptions(max_positions=40)).ByteSize()
    # the other beam's matrices differ by 17,408 bytes
    assert bundle_bytes(spec, arch, build_graph) == pytest.approx(size, abs=1000)


def test_bundle_bytes_count_the_shortlist(space: TranslationSpace) -> None:
    spec = spec_of(space, 2000, precision="int8").with_workload(shortlist=50)
    arch = space.smallest
    options = TranslationGraphOptions(192, shortlist=Shortlist.made_up(2000, 50, 100))
    arrays = state_arrays(TranslationSubnet(arch, space, 2000).state_dict())
    size = build_graph(spec, arch, arrays, options).ByteSize()
    assert bundle_bytes(spec, arch, build_graph) == pytest.approx(size, rel=0.01)
    assert size > 2000 * 50 * 2
