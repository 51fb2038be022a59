"""Run files and examples of made-up encoder tasks."""

import csv
import json
from pathlib import Path

from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.families.encoder.examples import EncoderData, Example
from mosdeploy.families.encoder.tokenizer import EncoderTokenizer, train_tokenizer
from mosdeploy.record import parse

SPACE = {
    "embed_dim": [8],
    "layers": [1, 2],
    "ffn_dim": [8, 16],
    "heads": [1, 2],
    "head_dim": 4,
    "max_positions": 64,
}
NAMES = ["house", "lake", "river", "tree", "street", "garden", "window", "door", "roof", "table"]
COLOURS = ["red", "green", "blue", "white"]


SIZES = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
"""Of the largest architecture of `encoder_config`, as transformers calls them."""


def sentences(count: int) -> list[str]:
    """Sentences that all differ."""
    return [
        f"the {COLOURS[i % 4]} {NAMES[i % 10]} of number-{i} is {'old' if i % 3 else 'new'}"
        for i in range(count)
    ]


def encoder_config(**task: object) -> EncoderRunConfig:
    """A run file of a tiny encoder; where nothing else is said, for two classes."""
    given: dict[str, object] = {"train": "train.csv", "max_tokens": 32, **task}
    if given.get("kind", "classification") == "classification":
        given.setdefault("labels", ["no", "yes"])
    limits = {"max_input_len": given["max_tokens"]}
    content = {
        "family": "encoder",
        "checkpoint": {"vocab_size": 96},
        "task": given,
        "space": SPACE,
        "export": limits,
    }
    return parse(EncoderRunConfig, EncoderRunConfig.completed(content, Path()), "mosdeploy.toml")


def write_csv(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    """Write a table; a name that ends in `.tsv` has tabs."""
    with path.open("w", newline="", encoding="utf-8") as file:
        tabs = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix == ".tsv" else {}
        writer = csv.writer(file, **tabs)  # type: ignore[arg-type]
        writer.writerows([columns, *rows])


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def trained_tokenizer(path: Path) -> EncoderTokenizer:
    """A tokenizer of 96 pieces, of the sentences above."""
    examples = tuple(Example(text) for text in sentences(200))
    data = EncoderData(examples, examples, (), {}, "")
    train_tokenizer(data, encoder_config(), path)
    return EncoderTokenizer(path)
