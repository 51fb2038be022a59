"""A run file for the user's parallel corpus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...config.sections import SupernetConfig
from ...config.shares import supernet_share
from ...config.translation import CorpusConfig
from ...errors import ConfigError
from ...family import DataRequest, DataSizes, RunPlan, Setting
from ...family.plan import dropped_fact, held_out_fraction, rounded_up, two_digits
from ...record import parse
from .corpus import Corpus, load_corpus
from .pair_files import Pair
from .sizes import SIZES, Size, choose_size
from .sources import CorpusFiles, corpus_files
from .tokenizer import trial_lengths

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
