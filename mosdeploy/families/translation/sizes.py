"""Sizes of a translation by name: the space, its vocabulary, its batches, the search in it."""

from dataclasses import dataclass

from ...errors import ConfigError


@dataclass(frozen=True)
class Size:
    """One size."""

    max_pairs: float
    vocab_size: int
    tokens_per_batch: int
    learning_rate: float
    epochs: int
    min_steps: int
    max_steps: int
    dims: tuple[int, ...]
    encoder_layers: tuple[int, ...]
    decoder_layers: tuple[int, ...]
    ffn_dims: tuple[int, ...]
    heads: tuple[int, ...]
    qkv_dim: int
    profile_budget: int = 30
    population: int = 125
    iterations: int = 30
    eval_examples: int = 256


SIZES = {
    "tiny": Size(
        max_pairs=20_000,
        vocab_size=4000,
        tokens_per_batch=512,
        learning_rate=4e-3,
        epochs=20,
        min_steps=1500,
        max_steps=5000,
        dims=(96, 128),
        encoder_layers=(1, 2, 3),
        decoder_layers=(1, 2, 3),
        ffn_dims=(96, 192, 384),
        heads=(2, 4),
        qkv_dim=128,
        profile_budget=20,
        population=32,
        iterations=5,
        eval_examples=96,
    ),
    "small": Size(
        max_pairs=200_000,
        vocab_size=8000,
        tokens_per_batch=2048,
        learning_rate=2e-3,
        epochs=20,
        min_steps=5000,
        max_steps=40_000,
        dims=(192, 256),
        encoder_layers=(2, 3, 4),
        decoder_layers=(1, 2, 3, 4),
        ffn_dims=(256, 512, 1024),
        heads=(2, 4),
        qkv_dim=256,
        population=64,
        iterations=15,
    ),
    "base": Size(
        max_pairs=2_000_000,
        vocab_size=16_000,
        tokens_per_batch=8192,
        learning_rate=1e-3,
        epochs=20,
        min_steps=20_000,
        max_steps=100_000,
        dims=(384, 512),
        encoder_layers=(6,),
        decoder_layers=(1, 2, 3, 4, 5, 6),
        ffn_dims=(512, 1024, 2048),
        heads=(4, 8),
        qkv_dim=512,
    ),
    "large": Size(
        max_pairs=float("inf"),
        vocab_size=32_000,
        tokens_per_batch=16_384,
        learning_rate=1e-3,
        epochs=10,
        min_steps=40_000,
        max_steps=200_000,
        dims=(512, 640),
        encoder_layers=(6,),
        decoder_layers=(1, 2, 3, 4, 5, 6),
        ffn_dims=(1024, 2048, 3072),
        heads=(4, 8),
        qkv_dim=512,
    ),
}
"""By name, smallest first. `tiny` is the space of the recipe of that name, `large` that of HAT."""

CPU_LARGEST = "small"
"""What a corpus chooses at most where no GPU trains: larger ones would take weeks there."""


def choose_size(name: str | None, num_pairs: int, has_gpu: bool) -> tuple[str, str]:
    """The size that is asked for, else the smallest that suits so many pairs; and the reason."""
    if name is not None:
        if name not in SIZES:
            raise ConfigError(f"unknown size '{name}'; known: {', '.join(SIZES)}")
        return name, "as asked"
    found = next(name for name, size in SIZES.items() if num_pairs <= size.max_pairs)
    names = list(SIZES)
    if not has_gpu and names.index(found) > names.index(CPU_LARGEST):
        return CPU_LARGEST, "the largest that a CPU can train; --size decides otherwise"
    most = SIZES[found].max_pairs
    if most == float("inf"):
        return found, "for more than 2,000,000 training pairs"
    return found, f"for {int(most):,} training pairs or fewer"
