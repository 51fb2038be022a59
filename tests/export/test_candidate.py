from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from example_spaces import WMT
from networks import PRECISIONS, VOCAB_SIZE, run

from mosdeploy.export.candidate import build_candidate, bundle_bytes, candidate_weights_bytes
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import build_graph, state_arrays
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload

WORKLOADS = [
    TranslationWorkload(source_len=9, decode_steps=7, beam=beam, precision=precision)
    for beam in (1, 3)
    for precision in PRECISIONS
]


def wmt_space() -> TranslationSpace:
    """The size of HAT's WMT spaces."""
    return WMT


def places(model: onnx.ModelProto) -> list[tuple[int, int]]:
    """Offset and length of each external initialiser, in order."""
    made = []
    for tensor in model.graph.initializer:
        entry = {item.key: item.value for item in tensor.external_data}
        if entry:
            assert entry["location"] == "weights.bin"
            made.append((int(entry["offset"]), int(entry["length"])))
    return sorted(made)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda x: f"{x.precision}-beam{x.beam}")
def test_a_candidate_runs_its_workload_on_random_weights(
    space: TranslationSpace, workload: TranslationWorkload, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    size = candidate_weights_bytes(space, VOCAB_SIZE, workload)
    rng.normal(0, 0.05, size // 4 + 1).astype(np.float32).tofile(tmp_path / "weights.bin")
    for _ in range(3):
        (tmp_path / "model.onnx").write_bytes(
            build_candidate(space.sample(rng), space, VOCAB_SIZE, workload)
        )
        session = onnxruntime.InferenceSession(
            tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
        )
        sources = [list(range(4, 12))]
        assert run(session, sources, 7, 7).shape == (1, 7)
        assert run(session, sources, 0, 0).shape == (1, 0)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda x: f"{x.precision}-beam{x.beam}")
def test_weights_lie_apart_aligned_and_within_the_file(
    space: TranslationSpace, workload: TranslationWorkload
) -> None:
    rng, size = np.random.default_rng(0), candidate_weights_bytes(space, VOCAB_SIZE, workload)
    for _ in range(10):
        model = onnx.load_from_string(
            build_candidate(space.sample(rng), space, VOCAB_SIZE, workload)
        )
        spans = places(model)
        assert all(offset % 64 == 0 for offset, _ in spans)
        assert all(a + length <= b for (a, length), (b, _) in pairwise(spans))
        assert spans[-1][0] + spans[-1][1] <= size
        assert all(len(tensor.raw_data) <= 1024 for tensor in model.graph.initializer)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_candidate_has_the_nodes_of_the_export(space: TranslationSpace, precision: str) -> None:
    arch, workload = (
        space.largest,
        TranslationWorkload(source_len=9, decode_steps=7, precision=precision),
    )
    candidate = onnx.load_from_string(build_candidate(arch, space, VOCAB_SIZE, workload))
    arrays = state_arrays(Subnet(arch, space, VOCAB_SIZE).state_dict())
    settings = {"beam": 1, "length_penalty": 0.6, "precision": precision, "max_positions": 9}
    export = build_graph(arch, space, VOCAB_SIZE, arrays, **settings)
    assert list(candidate.graph.node) == list(export.graph.node)
    shapes = [
        [(x.name, x.data_type, tuple(x.dims)) for x in model.graph.initializer]
        for model in (candidate, export)
    ]
    assert shapes[0] == shapes[1]


def test_a_candidate_of_wmt_size_is_small() -> None:
    space = wmt_space()
    for workload in (TranslationWorkload(), TranslationWorkload(beam=5, precision="int8")):
        assert len(build_candidate(space.largest, space, 32_000, workload)) < 64 * 1024
    fp32 = candidate_weights_bytes(space, 32_000, TranslationWorkload())
    assert fp32 == pytest.approx(4 * num_parameters(space, space.largest, 32_000), rel=0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bundle_bytes_is_the_size_of_the_model(space: TranslationSpace, precision: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        arch, beam = space.sample(rng), int(rng.integers(1, 3))
        arrays = state_arrays(Subnet(arch, space, 2000).state_dict())
        settings = {
            "beam": beam,
            "length_penalty": 0.6,
            "precision": precision,
            "max_positions": 192,
        }
        size = build_graph(arch, space, 2000, arrays, **settings).ByteSize()
        assert bundle_bytes(arch, space, 2000, precision, beam) == pytest.approx(size, rel=0.02)
