"""A run file for the user's parallel corpus."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ...config.sections import SupernetConfig
from ...config.translation import CorpusConfig
from ...errors import ConfigError
from ...family import (
    HELD_OUT,
    SPLIT_REASONS,
    DataRequest,
    DataSizes,
    RunPlan,
    Setting,
    TaskData,
    dropped_fact,
    held_out_fraction,
    rounded_up,
    search_settings,
    supernet_share,
    two_digits,
)
from ...record import parse
from .corpus import load_corpus
from .tokenizer import trial_lengths

MIN_PAIRS = 100
MAX_TOKENS = 256
"""A sentence of more tokens is no sentence: the most that `max_tokens` is set to."""

MIN_READS_FOR_DROPOUT = 5
"""Below, a network learned more without dropout, in `benchmarks/dropout.json`."""

SAMPLE_PAIRS = 10_000
"""Evenly spaced pairs whose tokens are counted."""


# -- sizes


@dataclass(frozen=True)
class Size:
    """A space by name, its vocabulary, its batches, and the search in it."""

    max_pairs: float
    vocab_size: int
    tokens_per_batch: int
    learning_rate: float
    min_steps: int
    max_steps: int
    dims: tuple[int, ...]
    encoder_layers: tuple[int, ...]
    decoder_layers: tuple[int, ...]
    ffn_dims: tuple[int, ...]
    heads: tuple[int, ...]
    qkv_dim: int
    epochs: int = 20
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
        min_steps=40_000,
        max_steps=200_000,
        dims=(512, 640),
        encoder_layers=(6,),
        decoder_layers=(1, 2, 3, 4, 5, 6),
        ffn_dims=(1024, 2048, 3072),
        heads=(4, 8),
        qkv_dim=512,
        epochs=10,
    ),
}
"""By name, smallest first. `tiny` is the space of the recipe of that name, `large` that of HAT."""

CPU_SIZES = ("tiny", "small")
"""Sizes that a corpus chooses where no GPU trains: larger ones would take weeks there."""


def choose_size(name: str | None, num_pairs: int, has_gpu: bool) -> tuple[str, str]:
    """Return the size that is asked for, else the smallest that suits so many pairs; and why."""
    if name is not None:
        if name not in SIZES:
            raise ConfigError(f"unknown size '{name}'; known: {', '.join(SIZES)}")
        return name, "as asked"
    found = next(name for name, size in SIZES.items() if num_pairs <= size.max_pairs)
    if not has_gpu and found not in CPU_SIZES:
        return CPU_SIZES[-1], "the largest that a CPU can train; --size decides otherwise"
    return found, f"for {num_pairs:,} training pairs"


# -- files of the corpus


_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?")
_PAIR = re.compile(r"(?<![A-Za-z])([a-z]{2,3})-([a-z]{2,3})(?![A-Za-z])")
_NO_LANGUAGES = ("txt", "tsv", "csv", "src", "tgt", "gz", "tok", "raw", "bpe")
_EXAMPLE = "--train data/train.en data/train.de, or --train pairs.tsv"


@dataclass(frozen=True)
class CorpusFiles:
    """Names for [corpus], the languages, and where these were found."""

    format: Literal["text", "tsv"]
    languages: tuple[str, str]
    told_by: str
    train: str | tuple[str, str]
    valid: str | None
    test: str | None


def corpus_files(request: DataRequest) -> CorpusFiles:
    """Tell format, languages and held-out files from the names of the training files."""
    for name in request.files:
        if not (request.root / name).is_file():
            raise ConfigError(f"{name}: no such file; give the files of the corpus: {_EXAMPLE}")
    if len(request.files) == 1:
        return _table(request, request.files[0])
    if len(request.files) > 2 or len(set(request.files)) == 1:
        raise ConfigError(
            f"a parallel corpus is two files, one a language, or one .tsv, got "
            f"{', '.join(request.files)}; give them like {_EXAMPLE}"
        )
    first, second = request.files
    (first_stem, first_suffix), (second_stem, second_suffix) = map(_parted, request.files)
    suffixes = (first_suffix, second_suffix)
    if request.languages is not None and suffixes[::-1] == request.languages:
        first, second = second, first
        suffixes = request.languages
    is_told = suffixes[0] != suffixes[1] and all(map(_is_language, suffixes))
    languages, told_by = _languages(request, suffixes if is_told else None, "from the suffixes")

    def is_there(prefix: str) -> bool:
        files = ([f"{prefix}.{lang}", f"{prefix}.{lang}.gz"] for lang in languages)
        return all(any((request.root / name).is_file() for name in names) for names in files)

    # files beside it are named by a prefix, behind which the languages stand
    is_prefix = first_stem == second_stem and languages == suffixes
    held_out: dict[str, str | None] = {}
    for split in HELD_OUT:
        named: str | None = getattr(request, split)
        if named is not None:
            stem, suffix = _parted(named)  # either file of the two
            held_out[split] = stem if suffix in languages else named
        else:
            held_out[split] = _beside(first_stem, split, is_there) if is_prefix else None
    return CorpusFiles("text", languages, told_by, (first, second), **held_out)


def _table(request: DataRequest, name: str) -> CorpusFiles:
    if not name.removesuffix(".gz").endswith(".tsv"):
        raise ConfigError(
            f"{name}: one file of a parallel corpus is a .tsv of lines source TAB target; "
            f"give two files or a .tsv: {_EXAMPLE}. Labelled texts want --family encoder "
            "--checkpoint FOLDER"
        )
    pairs = _PAIR.findall(Path(name).name)
    # of red-hat.en-de.tsv nobody knows which are languages
    told = pairs[0] if len(pairs) == 1 else None
    languages, told_by = _languages(request, told, "from the file's name")

    def is_there(other: str) -> bool:
        return (request.root / other).is_file()

    valid = request.valid or _beside(name, "valid", is_there)
    test = request.test or _beside(name, "test", is_there)
    return CorpusFiles("tsv", languages, told_by, name, valid, test)


def _languages(
    request: DataRequest, told: tuple[str, str] | None, told_by: str
) -> tuple[tuple[str, str], str]:
    if request.languages is not None:
        return request.languages, "as asked"
    if told is not None:
        return told, told_by
    return ("source", "target"), "unknown: say --languages en-de"


def _parted(name: str) -> tuple[str, str]:
    """Split a name into its stem and its suffix, both without `.gz`."""
    stem, _, suffix = name.removesuffix(".gz").rpartition(".")
    return stem, suffix


def _is_language(suffix: str) -> bool:
    return _LANGUAGE.fullmatch(suffix) is not None and suffix not in _NO_LANGUAGES


def _beside(train: str, split: str, is_there: Callable[[str], bool]) -> str | None:
    """Find the held-out file beside a training file with `train` in its name."""
    folder, slash, name = train.rpartition("/")
    names = [f"{folder}{slash}{name.replace('train', other)}" for other in HELD_OUT[split]]
    return next((x for x in names if "train" in name and is_there(x)), None)


# -- the plan


@dataclass(frozen=True)
class _Lengths:
    """Tokens of a sample of the pairs, on each side."""

    vocab_size: int
    sources: Sequence[int]
    targets: Sequence[int]

    @property
    def longer(self) -> Sequence[int]:
        return [max(pair) for pair in zip(self.sources, self.targets, strict=True)]

    @property
    def max_tokens(self) -> int:
        """A limit that 99 of 100 pairs keep, and a little more."""
        within = rounded_up(1.2 * float(np.percentile(self.longer, 99)), 8)
        return min(max(16, within), MAX_TOKENS)

    @property
    def share_too_long(self) -> float:
        return sum(length > self.max_tokens for length in self.longer) / len(self.longer)


def plan_run(request: DataRequest) -> RunPlan:
    """Read a corpus and size a run for it."""
    if request.size is not None:
        choose_size(request.size, 0, request.has_gpu)  # before anything is read
    if request.text or request.label:
        raise ConfigError(
            "--text and --label name columns of an encoder's table; leave them out, or add the "
            "--checkpoint that an encoder starts from"
        )
    files = corpus_files(request)
    named = {"train": files.train, "valid": files.valid, "test": files.test}
    source_lang, target_lang = files.languages
    given: dict[str, object] = {
        "format": files.format,
        "source_lang": source_lang,
        "target_lang": target_lang,
        **{split: name for split, name in named.items() if name is not None},
    }
    corpus = _read(given, request)
    fraction = held_out_fraction(len(corpus.train))
    given |= {f"{split}_fraction": fraction for split in ("valid", "test") if named[split] is None}
    corpus = _read(given, request)
    _check_enough(len(corpus.train), f"dropped: {dropped_fact(corpus.dropped)}", request)
    name, reason = choose_size(request.size, len(corpus.train), request.has_gpu)
    size = SIZES[name]
    sample = corpus.train[:: -(-len(corpus.train) // SAMPLE_PAIRS)]
    lengths = _Lengths(*trial_lengths(sample, size.vocab_size))
    num_characters = len(set().union(*(text for pair in corpus.train for text in pair)))
    if lengths.vocab_size != size.vocab_size or num_characters > size.vocab_size // 2:
        # what bounds it is the text: all that `train` will read
        read = _read({**given, "max_tokens": lengths.max_tokens}, request)
        lengths = replace(lengths, vocab_size=trial_lengths(read.train, size.vocab_size)[0])
    too_long = f"{lengths.share_too_long:.1%} have more than {lengths.max_tokens} tokens"
    _check_enough(round(len(corpus.train) * (1 - lengths.share_too_long)), too_long, request)
    return RunPlan(
        f"{source_lang} to {target_lang}, sized for {len(corpus.train):,} pairs.",
        _facts(files, corpus, lengths, f"{name}, {reason}"),
        DataSizes(len(corpus.train), len(corpus.valid), len(corpus.test)),
        {
            "corpus": _corpus(given, files, lengths, size, name),
            "space": _space(size, name),
            **_trainings(corpus, lengths, size, request.num_winners),
            "workload": _workload(lengths),
            "profile": (Setting("budget", size.profile_budget, "subnets to measure"),),
            "search": search_settings(size.population, size.iterations, size.eval_examples),
        },
    )


def _read(given: dict[str, object], request: DataRequest) -> TaskData:
    # before anything is known of lengths: what is far too long for any run alone is left out
    config = parse(CorpusConfig, {"max_tokens": MAX_TOKENS, **given}, "--train")
    return load_corpus(config, request.root)


def _check_enough(num_pairs: int, why: str, request: DataRequest) -> None:
    if num_pairs < MIN_PAIRS:
        raise ConfigError(
            f"{' and '.join(request.files)}: {num_pairs} pairs to train on are too few ({why}); at "
            f"least {MIN_PAIRS} are needed, a sentence a line, and thousands to learn a language"
        )


def _facts(files: CorpusFiles, corpus: TaskData, lengths: _Lengths, size: str) -> dict[str, str]:
    valid, test = (name or "split off by a hash" for name in (files.valid, files.test))
    middle, most = (int(x) for x in np.percentile(lengths.longer, (50, 95)))
    return {
        "languages": f"{files.languages[0]} to {files.languages[1]} ({files.told_by})",
        "pairs": f"{len(corpus.train):,} to train on, {len(corpus.valid):,} validation ({valid}), "
        f"{len(corpus.test):,} test ({test})",
        "dropped": dropped_fact(corpus.dropped),
        "lengths": (
            f"{middle} tokens on the longer side in the middle, {most} or fewer in 95%, at most "
            f"{max(lengths.longer)}; {lengths.share_too_long:.1%} are longer than "
            f"{lengths.max_tokens} and left out"
        ),
        "size": size,
    }


def _corpus(
    given: dict[str, object], files: CorpusFiles, lengths: _Lengths, size: Size, name: str
) -> list[Setting]:
    why = {
        "source_lang": files.told_by,
        **SPLIT_REASONS,
    }
    vocabulary = f"of size {name}"
    if lengths.vocab_size != size.vocab_size:
        is_less = lengths.vocab_size < size.vocab_size
        need = "what this much text yields" if is_less else "as many as the characters need"
        vocabulary = f"of {size.vocab_size:,} as size {name} has, {need}"
    too_long = f"{lengths.share_too_long:.1%} of the pairs are longer and left out"
    return [
        *(Setting(key, value, why.get(key, "")) for key, value in given.items()),
        Setting("max_tokens", lengths.max_tokens, too_long),
        Setting("vocab_size", lengths.vocab_size, vocabulary),
    ]


def _space(size: Size, name: str) -> list[Setting]:
    why = f"size {name}; every list is yours to change, and so is its length"
    steps = "a decode step runs each: what costs most time"
    spans = tuple(range(1, min(3, max(size.encoder_layers)) + 1))
    return [
        Setting("encoder_embed_dim", size.dims, why),
        Setting("decoder_embed_dim", size.dims),
        Setting("encoder_layers", size.encoder_layers),
        Setting("decoder_layers", size.decoder_layers, steps),
        Setting("encoder_ffn_dim", size.ffn_dims),
        Setting("decoder_ffn_dim", size.ffn_dims),
        Setting("encoder_heads", size.heads),
        Setting("decoder_self_heads", size.heads),
        Setting("decoder_cross_heads", size.heads),
        Setting("cross_span", spans, "last encoder layers that a decoder layer attends to"),
        Setting("qkv_dim", size.qkv_dim),
        Setting("norm", "pre", "trains without a long warm-up"),
    ]


def _trainings(
    corpus: TaskData, lengths: _Lengths, size: Size, num_winners: int
) -> dict[str, Sequence[Setting]]:
    # steps in which one subnet reads a pair once
    pair_steps = float(np.mean(lengths.longer) + 1) / size.tokens_per_batch
    epoch = len(corpus.train) * pair_steps
    # of the supernet and a winner together
    steps = min(max(size.min_steps, two_digits(size.epochs * epoch)), size.max_steps)
    share = supernet_share(num_winners)
    each = "" if num_winners == 1 else " for each limit"
    winners = "its winner" if num_winners == 1 else f"its {num_winners} winners"
    why = f"{steps / epoch:.2g} times through the data{each}; the supernet has {share:.0%}, "
    shared = (
        Setting("num_winners", num_winners, "limits or devices that share the supernet"),
        Setting("schedule", "constant", "decays in the winners' own training"),
        Setting("sandwich", "none", "one random architecture a step"),
    )
    fresh = "the rest is fresh: from all of its weights a winner learns less"
    return {
        "supernet": (_dropout(steps / epoch),),
        "training": (
            Setting("budget", num_winners * steps, f"{why}{winners} the rest", steps="length"),
            *(shared if num_winners > 1 else ()),
            Setting("tokens_per_batch", size.tokens_per_batch, "padding included"),
            Setting("learning_rate", size.learning_rate, "narrower networks take higher ones"),
            _validations(num_winners * steps * share, len(corpus.valid) * pair_steps),
        ),
        "finetune": (Setting("inherited_share", 0.4, fresh),),
    }


def _dropout(num_reads: float) -> Setting:
    """Choose the dropout for pairs that are read so often."""
    often = num_reads >= MIN_READS_FOR_DROPOUT
    why = "without it they are learned by heart" if often else "too seldom to be learned by heart"
    return Setting(
        "dropout",
        SupernetConfig().dropout if often else 0.0,
        f"pairs are read {num_reads:.2g} times: {why}",
        at=lambda factor: _dropout(factor * num_reads),
    )


def _validations(supernet_steps: float, valid_steps: float) -> Setting:
    """Choose how often two subnets are validated: at most, they read as many tokens for it as the
    supernet does in between; but twice at least.
    """
    count = min(max(2, int(supernet_steps / (2 * valid_steps))), 10)
    return Setting(
        "validate_every",
        max(1, round(supernet_steps / count)),
        f"{count} times on the way of the supernet",
        at=lambda factor: _validations(factor * supernet_steps, valid_steps),
    )


def _workload(lengths: _Lengths) -> list[Setting]:
    source, target = (max(1, int(np.median(x))) for x in (lengths.sources, lengths.targets))
    return [
        Setting("name", "sentence", "what one latency number stands for"),
        Setting("source_len", source, "tokens of a source in the middle of the data"),
        Setting("decode_steps", target, "and of a target"),
        Setting("beam", 1, "1 is greedy, the fastest"),
        Setting("threads", 1),
        Setting("precision", "fp32", "fp32 | fp32-int4-logits | int8 | int8-int4-logits | int4"),
    ]
