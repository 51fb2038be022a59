"""Data of the training's tests: pairs that are easy to learn, and examples of no family."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytest
import torch
from example_spaces import SMALL
from torch import Tensor
from torch.nn import functional as F

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.data.batches import Batches, Ragged, ordered_batches, pad_rows
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.families.translation.elastic import ElasticTranslation
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training.log import LogLine
from mosdeploy.training.trainer import TrainingJob, TrainingSummary, train

CONFIG = TrainingConfig(
    steps=9,
    tokens_per_batch=120,
    grad_accum_steps=2,
    learning_rate=5e-3,
    warmup_steps=3,
    compute="cpu",
    amp="none",
    threads=1,
    validate_every=4,
    checkpoint_every=3,
)
BRIEF = CONFIG.model_copy(
    update={"steps": 2, "grad_accum_steps": 1, "tokens_per_batch": 400, "num_random_archs": 0}
)
NO_DROPOUT = SupernetConfig(dropout=0.0)

Run = Callable[..., TrainingSummary]


@pytest.fixture
def vocab_size() -> int:
    return 16


@pytest.fixture
def space() -> TranslationSpace:
    return SMALL


@pytest.fixture
def pairs() -> TranslationDataset:
    return repeating_pairs()


def repeating_pairs() -> TranslationDataset:
    """Sixty sentences of 1 to 6 tokens; the translation repeats the first token once for each token
    of the source.
    """
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, 16, rng.integers(1, 7)).tolist() for _ in range(60)]
    targets = [[source[0]] * len(source) for source in sources]
    return TranslationDataset(Ragged.of(sources), Ragged.of(targets))


@dataclass(frozen=True)
class CopyBatch:
    """Ids (B, L), padded with 0, each of which is to be told again."""

    ids: Tensor
    num_targets: int

    def to(self, device: torch.device) -> Self:
        return self

    def inputs(self) -> tuple[Tensor, ...]:
        return (self.ids,)

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(
            logits.flatten(0, 1),
            self.ids.flatten(),
            ignore_index=0,
            label_smoothing=label_smoothing,
            reduction="sum",
        )

    def losses(self, logits: Tensor) -> Tensor:
        nats = F.cross_entropy(logits.mT, self.ids, ignore_index=0, reduction="none")  # (B, L)
        return nats.sum(1, dtype=torch.float64)


class CopyDataset:
    """Rows of ids that are to be told again: data of no family."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = Ragged.of(rows)
        self.lengths = self.rows.lengths
        self.tie_lengths = np.array([row[0] for row in rows], dtype=np.int64)
        self.num_targets = self.rows.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: npt.NDArray[np.int64]) -> CopyBatch:
        ids = pad_rows([self.rows[i] for i in rows])
        return CopyBatch(ids, int(self.num_targets[rows].sum()))

    def save(self, path: Path) -> None:
        np.savez(path, flat=self.rows.flat, offsets=self.rows.offsets)


def random_rows(count: int, vocab_size: int = 1000, seed: int = 0) -> CopyDataset:
    rng = np.random.default_rng(seed)
    return CopyDataset(
        [rng.integers(1, vocab_size, rng.integers(1, 30)).tolist() for _ in range(count)]
    )


@pytest.fixture
def net(space: TranslationSpace, vocab_size: int) -> Callable[..., Supernet]:
    def fresh(config: SupernetConfig | None = None) -> Supernet:
        torch.manual_seed(0)
        config = config or SupernetConfig()
        return Supernet(space, ElasticTranslation(space, vocab_size, config), config)

    return fresh


@pytest.fixture
def run(pairs: TranslationDataset, tmp_path: Path) -> Run:
    def train_in(
        net: Supernet,
        config: TrainingConfig = CONFIG,
        folder: Path = tmp_path,
        inputs_sha256: str = "x",
        **more: Any,
    ) -> TrainingSummary:
        batches = Batches(pairs, config.tokens_per_batch, config.seed)
        job = TrainingJob(config, folder / "state.pt", folder / "log.jsonl", inputs_sha256)
        return train(net, batches, ordered_batches(pairs, 1000), job, **more)

    return train_in


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_times(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "targets_per_s")}
        for line in lines
    ]


def interrupt_at(last: int) -> Callable[..., None]:
    def interrupt(line: LogLine, *numbers: float) -> None:
        if line.step == last:
            raise KeyboardInterrupt

    return interrupt
