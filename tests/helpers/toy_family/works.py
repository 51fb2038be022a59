"""The toy's data: lines of letters, their ids, batches with a loss, a metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mosdeploy.data.batches import Ragged, pad_rows
from mosdeploy.errors import StaleInputError
from mosdeploy.family import ScoredExamples, TaskData
from mosdeploy.storage import atomic_write, sha256_file

from .words import CipherRunConfig, CipherWorkload

PAD_ID = 0


def load_data(config: CipherRunConfig, root: Path) -> TaskData:
    """Of ten lines eight are for training, one for validation, one for the test."""
    path = root / config.letters.path
    lines = list(dict.fromkeys(path.read_text().split()))
    parts = {rest: [x for i, x in enumerate(lines) if i % 10 == rest] for rest in (8, 9)}
    train = [x for i, x in enumerate(lines) if i % 10 < 8]
    return TaskData(train, parts[8], parts[9], {"repeated": 0}, sha256_file(path))


@dataclass(frozen=True)
class Alphabet:
    """Letters to ids from 1."""

    letters: str

    @property
    def vocab_size(self) -> int:
        return 1 + len(self.letters)

    def encode(self, line: str) -> list[int]:
        return [1 + self.letters.index(letter) for letter in line]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.letters[i - 1] for i in ids if i != PAD_ID)

    def answer(self, line: str) -> str:
        """Each letter's next one, and the first one of the last."""
        size = len(self.letters)
        return "".join(self.letters[(self.letters.index(x) + 1) % size] for x in line)


def train_tokenizer(data: TaskData, config: CipherRunConfig, path: Path) -> None:
    atomic_write(path, config.letters.alphabet.encode())


def load_tokenizer(path: Path) -> Alphabet:
    if not path.exists():
        raise StaleInputError(f"{path} does not exist; run `mosdeploy train` first")
    return Alphabet(path.read_text())


@dataclass(frozen=True)
class CipherBatch:
    """Ids (B, L), padded, and the number of letters."""

    ids: Tensor
    num_targets: int
    vocab_size: int

    def to(self, device: torch.device) -> "CipherBatch":
        return CipherBatch(self.ids.to(device), self.num_targets, self.vocab_size)

    def inputs(self) -> tuple[Tensor]:
        return (self.ids,)

    @property
    def targets(self) -> Tensor:
        following = self.ids % (self.vocab_size - 1) + 1
        return torch.where(self.ids == PAD_ID, PAD_ID, following)  # (B, L)

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(
            logits.flatten(0, 1).float(),
            self.targets.flatten(),
            ignore_index=PAD_ID,
            reduction="sum",
            label_smoothing=label_smoothing,
        )

    def losses(self, logits: Tensor) -> Tensor:
        nats = F.cross_entropy(
            logits.mT.float(), self.targets, ignore_index=PAD_ID, reduction="none"
        )
        return nats.sum(1, dtype=torch.float64)  # (B,)


class CipherDataset:
    def __init__(self, rows: Ragged, vocab_size: int) -> None:
        self.rows = rows
        self.vocab_size = vocab_size
        self.lengths = rows.lengths
        self.tie_lengths = rows.lengths
        self.num_targets = rows.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: npt.NDArray[np.int64]) -> CipherBatch:
        ids = pad_rows([self.rows[i] for i in rows], PAD_ID)
        return CipherBatch(ids, int(self.num_targets[rows].sum()), self.vocab_size)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, self.rows.flat, self.rows.offsets, self.vocab_size)

    @classmethod
    def open(cls, path: Path) -> "CipherDataset":
        with np.load(path) as arrays:
            flat, offsets, vocab_size = (arrays[name] for name in arrays.files)
        return cls(Ragged(flat, offsets), int(vocab_size))


def tokenize(tokenizer: Alphabet, lines: Sequence[str], config: CipherRunConfig) -> CipherDataset:
    rows = [tokenizer.encode(x) for x in lines if len(x) <= config.max_tokens]
    return CipherDataset(Ragged.of(rows), tokenizer.vocab_size)


def made_up_dataset(config: CipherRunConfig) -> CipherDataset:
    length = config.workload.num_letters
    rng = np.random.default_rng(0)
    count = max(1, config.training.tokens_per_batch // length)
    rows = rng.integers(1, config.vocab_size, (count, length))
    return CipherDataset(Ragged.of(rows), config.vocab_size)


def scored_examples(
    tokenizer: Alphabet,
    lines: Sequence[str],
    config: CipherRunConfig,
    workload: CipherWorkload,
    limit: int | None = None,
    options: object = None,
) -> ScoredExamples:
    inputs = list(lines)[:limit]
    right = "".join(tokenizer.answer(line) for line in inputs)

    @torch.inference_mode()
    def predict(subnet: torch.nn.Module, rows: list[list[int]]) -> list[list[int]]:
        return [subnet(torch.tensor([row])).argmax(-1)[0].tolist() for row in rows]

    def metrics(outputs: list[str]) -> dict[str, float]:
        found = "".join(outputs)
        same = sum(a == b for a, b in zip(found, right, strict=False))
        return {"accuracy": 100.0 * same / len(right)}

    return ScoredExamples(
        inputs=inputs,
        input_ids=[tokenizer.encode(line) for line in inputs],
        predict=predict,
        decode=tokenizer.decode,
        metrics=metrics,
        metric="accuracy",
        setup="best letter",
    )
