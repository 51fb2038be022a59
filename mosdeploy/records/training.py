"""Records of what was trained, and how well it does."""

from typing import Literal

from ..record import Record
from ..spaces.translation import ArchConfig


class CorpusCard(Record):
    """The corpus that a tokenizer and a supernet were trained on; `dropped` counts pairs by reason."""

    version: Literal[1] = 1
    source_lang: str
    target_lang: str
    num_train: int
    num_valid: int
    num_test: int
    dropped: dict[str, int]
    sha256: str
    vocab_size: int
    tokenizer_sha256: str


class SupernetCard(Record):
    """What a checkpoint was made from and how well its largest and smallest subnets do."""

    version: Literal[1] = 1
    inputs_sha256: str
    space_sha256: str
    corpus_sha256: str
    tokenizer_sha256: str
    supernet_sha256: str
    steps: int
    vocab_size: int
    routing: str
    num_experts: int
    largest_loss: float
    smallest_loss: float
    train_seconds: float


class TrainingCost(Record):
    """What training one supernet takes, measured in a few updates on made-up sentences.

    `peak_bytes` is the largest resident size of the process on a CPU, what was allocated at most on a GPU; `update_s`
    is the median time of an update of `target_tokens` target tokens.
    """

    num_parameters: int
    parameters_bytes: int
    optimizer_bytes: int
    peak_bytes: int
    update_s: float
    target_tokens: int


class DryRun(Record):
    """Costs of the configured supernet, `configured`, and of the same one with other routings."""

    version: Literal[1] = 1
    space_sha256: str
    vocab_size: int
    steps: int
    costs: dict[str, TrainingCost]


WeightOrigin = Literal["inherited", "finetuned", "scratch"]
"""Where the weights of a subnet come from: the supernet, further training of those, or training from random ones."""


class SubnetCard(Record):
    """A subnet that was trained alone, and the validation losses that it started from and came to, in nats a piece.

    `supernet_sha256` is None for one trained from scratch, which has nothing from the supernet but its tokenizer.
    """

    version: Literal[1] = 1
    inputs_sha256: str
    arch: ArchConfig
    weights: WeightOrigin
    corpus_sha256: str
    tokenizer_sha256: str
    supernet_sha256: str | None
    subnet_sha256: str
    steps: int
    start_loss: float
    loss: float
    train_seconds: float


class Scores(Record):
    """Translation quality of one subnet on the test pairs; BLEU and chrF as sacrebleu prints them (0 to 100).

    `loss` is the validation loss in nats a piece.
    """

    arch: ArchConfig
    num_parameters: int
    bleu: float
    chrf: float
    loss: float
    num_pairs: int
    beam: int
    weights: WeightOrigin = "inherited"


class ScoreTable(Record):
    """Scores of several subnets of one supernet, by name."""

    version: Literal[1] = 1
    supernet_sha256: str
    corpus_sha256: str
    subnets: dict[str, Scores]
