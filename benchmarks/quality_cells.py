"""The trainings of supernet_quality.py: what a cell is, where it stands, how
it is trained.

In: supernet_quality.toml, a corpus, a folder. Out: one JSON file for each finished cell, beside it
the weights of a supernet; a killed training goes on at its last checkpoint.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.config.translation import CorpusConfig
from mosdeploy.data.batches import Batch, Batches, ordered_batches
from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.families.translation.corpus import Corpus, load_corpus
from mosdeploy.families.translation.dataset import tokenize
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.elastic import fresh_subnet, fresh_supernet
from mosdeploy.families.translation.scoring import bleu_chrf
from mosdeploy.families.translation.tokenizer import Tokenizer, train_tokenizer
from mosdeploy.locks import locked
from mosdeploy.record import Record, parse, read_toml
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace
from mosdeploy.storage import fingerprint, read_record, write_record
from mosdeploy.supernet.checkpoint import save_supernet
from mosdeploy.supernet.elastic import Subnet
from mosdeploy.supernet.supernet import Supernet, extract
from mosdeploy.training.trainer import TrainingJob, train
from mosdeploy.training.validation import validation_loss

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "sentencepiece", "sacrebleu", "scipy")
"""Whose versions the results depend on."""
ARCH_SEED = 2026
NUM_ARCHS = 8
MAX_DECODE_STEPS = 64
SCRATCH = "scratch"
SCRATCHES = tuple(f"{SCRATCH}-{i}" for i in range(NUM_ARCHS))


class Variant(Record):
    """What a way to share weights changes in the common sections."""

    supernet: Mapping[str, Any] = Field(default_factory=dict)
    training: Mapping[str, Any] = Field(default_factory=dict)


class Settings(Record):
    """supernet_quality.toml."""

    corpus: CorpusConfig
    space: TranslationSpace
    supernet: dict[str, Any]
    training: dict[str, Any]
    variants: dict[str, Variant]


class Cell(Record):
    """What one training came to; `losses` (nats a token) and `bleus` follow the fixed architectures
    it was judged on.

    `seconds` is training time on a machine that was not quiet: --step-time is for comparing.
    """

    name: str
    seed: int
    inputs_sha256: str
    num_parameters: int
    steps: int
    losses: tuple[float, ...]
    bleus: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Bench:
    """The common ground of all cells."""

    data: Path
    dir: Path
    steps: int | None = None

    @cached_property
    def settings(self) -> Settings:
        """The TOML, with the corpus put in."""
        text = json.dumps(read_toml(HERE / "supernet_quality.toml")).replace(
            "CORPUS", str(self.data)
        )
        stated = json.loads(text)
        stated["training"]["steps"] = self.steps or stated["training"]["steps"]
        return parse(Settings, stated, "supernet_quality.toml")

    @cached_property
    def archs(self) -> tuple[TranslationArch, ...]:
        """The fixed random architectures, the same for every seed."""
        rng = np.random.default_rng(ARCH_SEED)
        drawn = [self.settings.space.sample(rng) for _ in range(NUM_ARCHS)]
        return tuple(arch for arch in drawn if isinstance(arch, TranslationArch))

    @cached_property
    def corpus(self) -> Corpus:
        """Sentence pairs."""
        return load_corpus(self.settings.corpus, Path.cwd())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Of both languages, trained once."""
        path = self.dir / "tokenizer.model"
        if not path.exists():
            train_tokenizer(self.corpus.train, self.settings.corpus.vocab_size, path)
        return Tokenizer(path)

    def cells(self, names: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, int]]:
        """Names and seeds of all trainings, seed by seed in the order of the names."""
        names = [one for name in names for one in (SCRATCHES if name == SCRATCH else [name])]
        return [(name, seed) for seed in seeds for name in names]

    def sections(self, name: str, seed: int) -> tuple[SupernetConfig, TrainingConfig]:
        """How a cell shares weights and trains."""
        variant = (
            Variant(supernet={"routing": "none"})
            if name.startswith(SCRATCH)
            else self.settings.variants[name]
        )
        supernet = {**self.settings.supernet, **variant.supernet}
        training = {**self.settings.training, **variant.training, "seed": seed}
        return parse(SupernetConfig, supernet, name), parse(TrainingConfig, training, name)

    def inputs_sha256(self, name: str, seed: int) -> str:
        """Fingerprint of what is stated for a cell; options that came later leave it as it was."""
        variant = Variant() if name.startswith(SCRATCH) else self.settings.variants[name]
        stated = [
            self.settings.supernet,
            variant.supernet,
            self.settings.training,
            variant.training,
            name,
            seed,
        ]
        return fingerprint(
            self.corpus.sha256,
            self.settings.corpus.vocab_size,
            self.settings.space,
            json.dumps(stated),
        )

    def path(self, name: str, seed: int) -> Path:
        """Where a finished cell stands."""
        return self.dir / f"{name}.seed{seed}.json"

    def supernet_path(self, name: str, seed: int) -> Path:
        """Where the weights of a finished supernet stand."""
        return self.path(name, seed).with_suffix(".safetensors")

    def finished(self, name: str, seed: int) -> Cell | None:
        """The record of a cell that was made from what is stated now."""
        path = self.path(name, seed)
        cell = read_record(Cell, path, "this script") if path.exists() else None
        return cell if cell and cell.inputs_sha256 == self.inputs_sha256(name, seed) else None

    def cell(self, name: str, seed: int) -> Cell:
        """The record of a cell that must be finished."""
        if (cell := self.finished(name, seed)) is None:
            raise StaleInputError(
                f"{self.path(name, seed)} is not there, or not of these settings; train it first"
            )
        return cell

    def run(self, name: str, seed: int) -> None:
        """Train a cell, or go on with it, and judge it."""
        path = self.path(name, seed)
        with locked(
            path.with_suffix(".lock"), MosdeployError(f"another process trains {path.stem}")
        ):
            if self.finished(name, seed) is None:
                write_record(path, self._train(name, seed))

    def batches(self, training: TrainingConfig) -> tuple[Batches, list[Batch]]:
        """What is trained on, and what validation losses are taken of."""
        train_set, valid_set = (
            tokenize(self.tokenizer, pairs, self.settings.corpus.max_tokens)
            for pairs in (self.corpus.train, self.corpus.valid)
        )
        valid = ordered_batches(valid_set)
        return Batches(train_set, training.tokens_per_batch, training.seed), valid

    def _train(self, name: str, seed: int) -> Cell:
        path = self.path(name, seed)
        inputs_sha256 = self.inputs_sha256(name, seed)
        net, training = self._fresh(name, seed)
        batches, valid = self.batches(training)
        state_path = path.with_suffix(".state")
        job = TrainingJob(training, state_path, path.with_suffix(".log"), inputs_sha256)
        summary = train(net, batches, valid, job)
        judged = [net] if isinstance(net, Subnet) else [extract(net, arch) for arch in self.archs]
        cell = Cell(
            name=name,
            seed=seed,
            inputs_sha256=inputs_sha256,
            num_parameters=sum(p.numel() for p in net.parameters()),
            steps=summary.steps,
            losses=tuple(validation_loss(subnet, valid) for subnet in judged),
            bleus=tuple(self._bleu(subnet) for subnet in judged),
            seconds=summary.train_seconds,
        )
        if isinstance(net, Supernet):
            save_supernet(self.supernet_path(name, seed), net)
        state_path.unlink()
        return cell

    def _fresh(self, name: str, seed: int) -> tuple[Supernet | Subnet, TrainingConfig]:
        """What a cell trains, with its initial weights, and how."""
        supernet, training = self.sections(name, seed)
        space = self.settings.space
        vocab_size = self.tokenizer.vocab_size
        if not name.startswith(SCRATCH):
            return fresh_supernet(space, vocab_size, supernet, seed), training
        arch = self.archs[int(name.removeprefix(f"{SCRATCH}-"))]
        return fresh_subnet(arch, space, vocab_size, supernet, seed), training

    def _bleu(self, subnet: Subnet) -> float:
        """Greedy test BLEU."""
        sources = self.tokenizer.encode_many([source for source, _ in self.corpus.test])
        ids = translate(subnet, sources, beam=1, max_steps=MAX_DECODE_STEPS, length_penalty=1.0)
        hypotheses = [self.tokenizer.decode(row) for row in ids]
        return bleu_chrf(hypotheses, [target for _, target in self.corpus.test])["BLEU"]
