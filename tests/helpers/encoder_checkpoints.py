"""Made-up checkpoints of every kind, as transformers saves them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "vocab_size": 30,
    "max_position_embeddings": 12,
}
DISTILBERT_SIZES = {
    "dim": 16,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 24,
    "vocab_size": 30,
    "max_position_embeddings": 12,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES),
    "bert-tanh": ("Bert", SIZES | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-6}),
    "distilbert": ("DistilBert", DISTILBERT_SIZES),
    "electra": ("Electra", SIZES | {"embedding_size": 10}),
    "electra-wide": ("Electra", SIZES | {"embedding_size": 16, "hidden_act": "relu"}),
    "roberta": ("Roberta", SIZES | {"layer_norm_eps": 1e-5, "type_vocab_size": 1}),
    # types that its tokenizer does not tell
    "roberta-types": ("Roberta", SIZES | {"type_vocab_size": 2}),
}


def saved(folder: Path, kind: str, suffix: str = "Model", **changes: Any) -> Any:
    """A network of transformers with random weights, written to a folder; `changes` are of its
    config.
    """
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    name, sizes = KINDS[kind]
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**{**sizes, **changes})
    net = getattr(transformers, f"{name}{suffix}")(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    net.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    return net


def write_modules(
    folder: Path, pooling: object, *further: str, path: str = "1_Pooling", **flags: object
) -> None:
    """Write `modules.json` with a Transformer, a Pooling and `further` modules, and the Pooling's
    config: of a `pooling` that is None, `flags` as older versions wrote them.
    """
    kinds = ("Transformer", "Pooling", *further)
    paths = ["", path, *(f"{i}_{kind}" for i, kind in enumerate(further, 2))]
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / path).mkdir(exist_ok=True)
    said = flags if pooling is None else {"pooling_mode": pooling}
    (folder / path / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **said}))
