"""A run folder of an encoder small enough to walk through in seconds: made-up texts whose label is
a word of theirs, a checkpoint-free space of some dozens of subnets.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from encoder_bundles import write_tokenizer
from walking import PROTOCOL

RUN_FILE = """
family = "encoder"
device = "local"
[checkpoint]
vocab_size = 60
[task]
kind = "{kind}"
train = "data/train.{suffix}"
labels = {labels}
max_tokens = 24
valid_fraction = 0.15
test_fraction = 0.15
[space]
embed_dim = [16]
layers = [1, 2, 3]
ffn_dim = [16, 32]
heads = [1, 2]
head_dim = 8
max_positions = 24
num_types = 2
[supernet]
router_hidden_dim = 8
dropout = 0.0
[teacher]
steps = 40
learning_rate = 5e-3
[training]
steps = 12
tokens_per_batch = 256
learning_rate = 2e-3
warmup_steps = 2
amp = "none"
threads = 1
validate_every = 6
checkpoint_every = 4
[finetune]
steps = 6
[workload]
input_len = 8
[profile]
budget = 10
[search]
population = 8
iterations = 1
eval_examples = 32
finalists = 2
[export]
max_input_len = 24
parity_examples = 16
score_examples = 16
max_score_drop = 100.0
"""

GOOD = ("bright", "clear", "warm")
BAD = ("dull", "vague", "cold")
OTHER = ("a", "film", "the", "story", "it", "is", "was", "and", "long", "short")
LABELS = {
    "classification": '["bad", "good"]',
    "regression": "[]",
    "tagging": '["BAD", "GOOD"]',
    "embedding": "[]",
    "masked-lm": "[]",
}


TASK = """
[task]
kind = "classification"
train = "data/labelled.jsonl"
labels = ["bad", "good"]
max_tokens = 24
valid_fraction = 0.15
test_fraction = 0.15
[finetune]
steps = 150
[training]
tokens_per_batch = 256
learning_rate = 5e-3
threads = 1
amp = "none"
"""
"""Of a supernet without labels; its texts are in `data/labelled.jsonl`."""


def examples(kind: str, count: int = 400) -> list[dict[str, object]]:
    """Texts of a few words: whether the one that matters is good or bad decides everything."""
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(count):
        is_good = bool(rng.integers(2))
        words = [str(word) for word in rng.choice(OTHER, rng.integers(3, 8))]
        place = int(rng.integers(len(words) + 1))
        words.insert(place, str(rng.choice(GOOD if is_good else BAD)))
        tag = "B-GOOD" if is_good else "B-BAD"
        tags = ["O"] * place + [tag] + ["O"] * (len(words) - place - 1)
        text = " ".join(words)
        of_kind: dict[str, dict[str, object]] = {
            "classification": {"text": text, "label": "good" if is_good else "bad"},
            "regression": {"text": text, "label": 1.0 if is_good else -1.0},
            "tagging": {"tokens": words, "tags": tags},
            "embedding": {"text": text},
            "masked-lm": {"text": text},
        }
        rows.append(of_kind[kind])
    return rows


def make_encoder_folder(root: Path, kind: str, **changes: str) -> Path:
    """Write data and run file; `changes` replace lines of the run file by their key."""
    (root / "data").mkdir(parents=True)
    lines = [json.dumps(row) for row in examples(kind)]
    (root / "data" / "train.jsonl").write_text("\n".join(lines) + "\n")
    text = RUN_FILE.format(kind=kind, suffix="jsonl", labels=LABELS[kind])
    for key, value in changes.items():
        old = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(old, f"{key} = {value}", 1)
    (root / "mosdeploy.toml").write_text(text)
    profiles = root / "device_profiles"
    profiles.mkdir()
    work_dir = root / "device"
    head = f'name = "local"\nkind = "local"\nwork_dir = "{work_dir}"\n'
    (profiles / "local.toml").write_text(head + PROTOCOL)
    return root


def write_checkpoint(folder: Path, vocab_size: int = 60) -> None:
    """Write a BERT with random weights, of the largest architecture of the run file above."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=vocab_size,
        max_position_embeddings=24,
    )
    transformers.BertModel(config).save_pretrained(folder)
    write_tokenizer(folder / "tokenizer.json")
