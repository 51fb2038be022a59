"""A run file for the user's parallel corpus."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ...config.sections import SupernetConfig
from ...config.shares import supernet_share
from ...config.translation import CorpusConfig
from ...errors import ConfigError
from ...family import DataRequest, DataSizes, RunPlan, Setting
from ...family.plan import HELD_OUT, dropped_fact, held_out_fraction, rounded_up, two_digits
from ...record import parse
from .corpus import Corpus, Pair, load_corpus
from .tokenizer import trial_lengths


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


_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?")
_PAIR = re.compile(r"(?<![A-Za-z])([a-z]{2,3})-([a-z]{2,3})(?![A-Za-z])")
_NO_LANGUAGES = ("txt", "tsv", "csv", "src", "tgt", "gz", "tok", "raw", "bpe")
_EXAMPLE = "--train data/train.en data/train.de, or --train pairs.tsv"

Source = str | tuple[str, str]


@dataclass(frozen=True)
class CorpusFiles:
    """Names for [corpus], the languages, and what told them."""

    format: Literal["text", "tsv"]
    languages: tuple[str, str]
    told_by: str
    train: Source
    valid: Source | None
    test: Source | None


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
    if request.languages is not None and _suffixes(second, first) == request.languages:
        first, second = second, first  # the source first, as asked
    stem, languages = _stem(first, second)
    told_by = "from the suffixes"
    if request.languages is not None or languages is None:
        languages = request.languages or ("source", "target")
        told_by = "as asked" if request.languages else "unknown: say --languages en-de"
    is_prefix = stem is not None and languages == _suffixes(first, second)
    # a prefix means the plain files where there are both
    is_prefix = is_prefix and not any(
        name.endswith(".gz") and (request.root / name.removesuffix(".gz")).exists()
        for name in (first, second)
    )
    train: Source = stem if stem is not None and is_prefix else (first, second)

    def exists(name: str) -> bool:
        return all(
            any((request.root / f"{name}.{x}{end}").is_file() for end in ("", ".gz"))
            for x in languages
        )

    held_out = {}
    for split in HELD_OUT:
        named: str | None = getattr(request, split)
        if named is not None:
            # either file of the two, plain or not
            stem_of_it, _, suffix = named.removesuffix(".gz").rpartition(".")
            named = stem_of_it if suffix in languages else named
        held_out[split] = named or (_beside(train, split, exists) if train == stem else None)
    return CorpusFiles("text", languages, told_by, train, held_out["valid"], held_out["test"])


def _table(request: DataRequest, name: str) -> CorpusFiles:
    if not name.removesuffix(".gz").endswith(".tsv"):
        raise ConfigError(
            f"{name}: one file of a parallel corpus is a .tsv of lines source TAB target; "
            f"give two files or a .tsv: {_EXAMPLE}. Labelled texts want --family encoder "
            "--checkpoint FOLDER"
        )
    found = _PAIR.findall(Path(name).name)
    languages, told_by = ("source", "target"), "unknown: say --languages en-de"
    if request.languages is not None:
        languages = request.languages
        told_by = "as asked"
    elif len(found) == 1:  # of red-hat.en-de.tsv nobody knows which are languages
        languages = found[0]
        told_by = "from the file's name"

    def exists(other: str) -> bool:
        return (request.root / other).is_file()

    valid = request.valid or _beside(name, "valid", exists)
    return CorpusFiles(
        "tsv", languages, told_by, name, valid, request.test or _beside(name, "test", exists)
    )


def _stem(first: str, second: str) -> tuple[str | None, tuple[str, str] | None]:
    """What two names share before their suffixes, and the suffixes if they are languages."""
    suffixes = _suffixes(first, second)
    if suffixes is None:
        return None, None
    stems = [name.removesuffix(".gz").rpartition(".")[0] for name in (first, second)]
    return (stems[0] if stems[0] == stems[1] else None), suffixes


def _suffixes(first: str, second: str) -> tuple[str, str] | None:
    one, other = (Path(name.removesuffix(".gz")).suffix[1:] for name in (first, second))
    if one == other or any(
        not _LANGUAGE.fullmatch(suffix) or suffix in _NO_LANGUAGES for suffix in (one, other)
    ):
        return None
    return one, other


def _beside(train: Source, split: str, exists: Callable[[str], bool]) -> str | None:
    """The held-out file that lies beside a training file of the usual name."""
    assert isinstance(train, str)
    folder, slash, name = train.rpartition("/")
    for other in HELD_OUT[split]:
        found = f"{folder}{slash}{name.replace('train', other)}"
        if "train" in name and exists(found):
            return found
    return None


MIN_PAIRS = 100
MAX_TOKENS = 256
"""A sentence of more tokens is no sentence: the most that `max_tokens` is set to."""

MIN_READS_FOR_DROPOUT = 5
"""Below, a network learned more without dropout, in `benchmarks/dropout.json`."""

SAMPLE_PAIRS = 10_000
"""Evenly spaced pairs whose tokens are counted."""


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
        """What all but one pair in a hundred keep within, and a little more."""
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
    if len(corpus.train) < MIN_PAIRS:
        raise ConfigError(
            f"{' and '.join(request.files)}: {len(corpus.train)} pairs to train on are too few "
            f"(dropped: {dropped_fact(corpus.dropped)}); at least {MIN_PAIRS} are needed, and "
            "thousands to learn a language"
        )
    name, reason = choose_size(request.size, len(corpus.train), request.has_gpu)
    size = SIZES[name]
    lengths = _Lengths(*trial_lengths(_sample(corpus.train), size.vocab_size))
    if lengths.vocab_size != size.vocab_size or _num_characters(corpus) > size.vocab_size // 2:
        # what bounds it is the text: all that `train` will read
        read = _read({**given, "max_tokens": lengths.max_tokens}, request)
        lengths = replace(lengths, vocab_size=trial_lengths(read.train, size.vocab_size)[0])
    _check_kept(len(corpus.train), lengths, request)
    length = _Length.of(corpus, lengths, size)
    return RunPlan(
        f"{source_lang} to {target_lang}, sized for {len(corpus.train):,} pairs.",
        _facts(files, corpus, lengths, f"{name}, {reason}"),
        DataSizes(len(corpus.train), len(corpus.valid), len(corpus.test)),
        {
            "corpus": _corpus(given, files, lengths, size, name),
            "space": _space(size, name),
            "supernet": (_dropout(length.num_reads),),
            "training": _training(length, size, request.num_winners),
            "finetune": (
                Setting(
                    "inherited_share",
                    0.4,
                    "the rest is fresh: from all of its weights a winner learns less",
                ),
            ),
            "workload": _workload(lengths),
            "profile": (Setting("budget", size.profile_budget, "subnets to measure"),),
            "search": _search(size),
        },
    )


def _check_kept(num_pairs: int, lengths: _Lengths, request: DataRequest) -> None:
    kept = round(num_pairs * (1 - lengths.share_too_long))
    if kept < MIN_PAIRS:
        raise ConfigError(
            f"{' and '.join(request.files)}: {lengths.share_too_long:.0%} of {num_pairs:,} pairs "
            f"have more than {lengths.max_tokens} tokens on a side, which leaves {kept}; at least "
            f"{MIN_PAIRS} are needed: write a sentence a line"
        )


def _read(given: dict[str, object], request: DataRequest) -> Corpus:
    # before anything is known of lengths: what is far too long for any run alone is left out
    config = parse(CorpusConfig, {"max_tokens": MAX_TOKENS, **given}, "--train")
    return load_corpus(config, request.root)


def _num_characters(corpus: Corpus) -> int:
    return len(set().union(*(text for pair in corpus.train for text in pair)))


def _sample(pairs: Sequence[Pair]) -> Sequence[Pair]:
    return pairs[:: -(-len(pairs) // SAMPLE_PAIRS)]


def _facts(files: CorpusFiles, corpus: Corpus, lengths: _Lengths, size: str) -> dict[str, str]:
    parts = {"validation": (corpus.valid, files.valid), "test": (corpus.test, files.test)}
    held_out = ", ".join(
        f"{len(pairs):,} {split} ({'split off by a hash' if name is None else name})"
        for split, (pairs, name) in parts.items()
    )
    longer = lengths.longer
    middle, most = (int(x) for x in np.percentile(longer, (50, 95)))
    return {
        "languages": f"{files.languages[0]} to {files.languages[1]} ({files.told_by})",
        "pairs": f"{len(corpus.train):,} to train on, {held_out}",
        "dropped": dropped_fact(corpus.dropped),
        "lengths": (
            f"{middle} tokens on the longer side in the middle, {most} or fewer in 95%, at most "
            f"{max(longer)}; {lengths.share_too_long:.1%} are longer than {lengths.max_tokens} and "
            "left out"
        ),
        "size": size,
    }


def _corpus(
    given: dict[str, object], files: CorpusFiles, lengths: _Lengths, size: Size, name: str
) -> list[Setting]:
    why = {
        "source_lang": f"{files.told_by}",
        "valid": "chooses everything",
        "valid_fraction": "chooses everything; split off by a hash, so that a rerun repeats it",
        "test": "chooses nothing",
        "test_fraction": "chooses nothing",
    }
    vocabulary = f"of size {name}"
    if lengths.vocab_size != size.vocab_size:
        is_less = lengths.vocab_size < size.vocab_size
        need = "what this much text yields" if is_less else "as many as the characters need"
        vocabulary = f"of {size.vocab_size:,} as size {name} has, {need}"
    return [
        *(Setting(key, value, why.get(key, "")) for key, value in given.items()),
        Setting(
            "max_tokens",
            lengths.max_tokens,
            f"{lengths.share_too_long:.1%} of the pairs are longer and left out",
        ),
        Setting("vocab_size", lengths.vocab_size, vocabulary),
    ]


def _space(size: Size, name: str) -> list[Setting]:
    sides: dict[str, tuple[int, ...]] = {
        "encoder_embed_dim": size.dims,
        "decoder_embed_dim": size.dims,
        "encoder_layers": size.encoder_layers,
        "decoder_layers": size.decoder_layers,
        "encoder_ffn_dim": size.ffn_dims,
        "decoder_ffn_dim": size.ffn_dims,
        "encoder_heads": size.heads,
        "decoder_self_heads": size.heads,
        "decoder_cross_heads": size.heads,
    }
    spans = tuple(range(1, min(3, max(size.encoder_layers)) + 1))
    why = {
        "encoder_embed_dim": f"size {name}; every list is yours to change, and so is its length",
        "decoder_layers": "a decode step runs each: what costs most time",
    }
    return [
        *(Setting(key, values, why.get(key, "")) for key, values in sides.items()),
        Setting("cross_span", spans, "last encoder layers that a decoder layer attends to"),
        Setting("qkv_dim", size.qkv_dim),
        Setting("norm", "pre", "trains without a long warm-up"),
    ]


def _dropout(num_reads: float) -> Setting:
    """How much to drop out where each pair is read so often."""
    often = num_reads >= MIN_READS_FOR_DROPOUT
    why = "without it they are learned by heart" if often else "too seldom to be learned by heart"
    return Setting(
        "dropout",
        SupernetConfig().dropout if often else 0.0,
        f"pairs are read {num_reads:.2g} times: {why}",
        at=lambda factor: _dropout(factor * num_reads),
    )


@dataclass(frozen=True)
class _Length:
    """Steps of the supernet and a winner together, how often these read each pair, and to how many
    of them a validation comes.
    """

    steps: int
    num_reads: float
    valid_steps: float  # which read as many tokens as one subnet does that is validated

    @classmethod
    def of(cls, corpus: Corpus, lengths: _Lengths, size: Size) -> "_Length":
        pair_steps = float(np.mean(lengths.longer) + 1) / size.tokens_per_batch
        epoch = len(corpus.train) * pair_steps
        steps = min(max(size.min_steps, two_digits(size.epochs * epoch)), size.max_steps)
        return cls(steps, steps / epoch, len(corpus.valid) * pair_steps)


def _training(length: _Length, size: Size, num_winners: int) -> list[Setting]:
    steps = length.steps
    share = supernet_share(num_winners)
    winners = "its winner" if num_winners == 1 else f"its {num_winners} winners"
    each = "" if num_winners == 1 else " for each limit"
    parts = f"the supernet has {share:.0%}, {winners} the rest"
    why = f"{length.num_reads:.2g} times through the data{each}; {parts}"
    shared = (
        Setting("num_winners", num_winners, "limits or devices that share the supernet"),
        Setting("schedule", "constant", "decays in the winners' own training"),
        Setting("sandwich", "none", "one random architecture a step"),
    )
    return [
        Setting("budget", num_winners * steps, why, steps="length"),
        *(shared if num_winners > 1 else ()),
        Setting("tokens_per_batch", size.tokens_per_batch, "padding included"),
        Setting("learning_rate", size.learning_rate, "narrower networks take higher ones"),
        _validations(num_winners * steps * share, length.valid_steps),
    ]


def _validations(supernet_steps: float, valid_steps: float) -> Setting:
    """How often the largest and the smallest subnet are validated: on at most as many tokens as the
    supernet reads, but twice.
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


def _search(size: Size) -> list[Setting]:
    quarter = size.population // 4
    return [
        Setting("population", size.population, "architectures of a generation"),
        Setting("parents", quarter),
        Setting("mutations", 2 * quarter - quarter // 2),
        Setting("crossovers", 2 * quarter - quarter // 2),
        Setting("iterations", size.iterations),
        Setting("eval_examples", size.eval_examples, "validation pairs that each is judged on"),
    ]
