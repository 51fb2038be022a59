"""Which tensors of a file are weights, and what they must be."""

from pathlib import Path

import pytest
import torch

from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.checkpoint import rename_weights

CLASSES = ["BertForSequenceClassification"]


@pytest.mark.parametrize("name", ["bert.encoder.layer.0.output.dense", "classifier"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(name: str, dtype: torch.dtype) -> None:
    tensors = {f"{name}.weight": torch.ones(2, 2).to(dtype)}
    message = (
        rf"model\.safetensors: {name}\.weight is of {dtype}, as quantised weights are; weights"
    )
    with pytest.raises(ConfigError, match=message):
        rename_weights("bert", CLASSES, tensors, Path("model.safetensors"))


def test_whole_numbers_that_are_no_weights_are_left_out() -> None:
    tensors = {
        "bert.embeddings.position_ids": torch.arange(2),
        "classifier.weight": torch.ones(2, 2, dtype=torch.bfloat16),
    }
    body, heads = rename_weights("bert", CLASSES, tensors, Path("model.safetensors"))
    assert body == {}
    assert heads["pooled"]["head.out.weight"].dtype == torch.float32
