"""An independent check: torch's own exporter, stepped from Python, against our graph."""

import io
import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from export_fixtures import space, trained_subnet  # noqa: F401
from networks import (
    EOS_ID,
    TranslationSubnet,
    lively_subnet,
    open_subnet,
    random_sources,
    run,
    until_end,
)
from torch import Tensor

from mosdeploy.spaces.translation import TranslationSpace

BOS_ID = 2
MAX_STEPS = 14


def trace(
    subnet: TranslationSubnet, monkeypatch: pytest.MonkeyPatch
) -> onnxruntime.InferenceSession:
    """`forward` from source and target ids to logits, by torch.onnx.export."""
    subnet_file = sys.modules[TranslationSubnet.__module__]
    table = subnet_file.positions(0, 64, subnet.table_dim, subnet.table_dim, torch.device("cpu"))

    def positions(
        start: int, length: int, width: int, table_dim: int, device: torch.device
    ) -> Tensor:
        # the tracer cannot follow how the real one chooses its size
        return table[start : start + length, :width]

    monkeypatch.setattr(subnet_file, "positions", positions)
    source = torch.tensor([[4, 5, 6], [7, EOS_ID, 0]])  # padded, so that the mask is traced
    file = io.BytesIO()
    axes = {"source": {0: "B", 1: "S"}, "target": {0: "B", 1: "T"}}
    names = {"input_names": ["source", "target"], "output_names": ["logits"], "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is old
        torch.onnx.export(subnet, (source, source), file, dynamo=False, opset_version=17, **names)
    return onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


def step(session: onnxruntime.InferenceSession, ids: list[int]) -> list[int]:
    """Greedy, the whole prefix anew in every step: no cache that could be wrong."""
    source = np.array([[*ids, EOS_ID]])
    target = [BOS_ID]
    while len(target) <= MAX_STEPS and target[-1] != EOS_ID:
        (logits,) = session.run(None, {"source": source, "target": np.array([target])})
        target.append(int(logits[0, -1].argmax()))
    return until_end(target[1:])


def test_both_exports_translate_alike(
    space: TranslationSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for seed in range(2):
        subnet = lively_subnet(space.sample(rng), space, seed)
        sources = random_sources((1, 2, 6, 11), seed)
        ours = [until_end(row) for row in run(open_subnet(subnet, space), sources, MAX_STEPS)]
        traced = trace(subnet, monkeypatch)
        assert ours == [step(traced, ids) for ids in sources]
        assert len({tuple(ids) for ids in ours}) > 2
