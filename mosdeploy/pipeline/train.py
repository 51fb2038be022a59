"""The verb that trains the supernet; and the trained network that other verbs ask for."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, MosdeployError, StaleInputError
from ..record import Record, parse, parse_json_file
from ..records import CorpusCard, SearchResult, SupernetCard
from ..spaces.genes import ArchConfig
from ..storage import fingerprint, locked, read_record, sha256_file, write_record
from .run import Progress, Run
from .token_files import forget_pieces, read_pieces, shown, write_pieces

if TYPE_CHECKING:
    from ..families.translation.corpus import Corpus
    from ..families.translation.dataset import TokenizedPairs
    from ..families.translation.network import Subnet
    from ..families.translation.tokenizer import Tokenizer
    from ..supernet.supernet import Supernet
    from ..training.distributed import DistributedContext
    from ..training.trainer import TrainingSummary

VALID_SEED = 1
"""Draws the validation pairs of a search: a file's first sentences may be of one book, and easier
than the rest.
"""


def train(run: Run, progress: Progress) -> SupernetCard:
    """Train the supernet of a run folder, or resume; a finished one is left as it is.

    Raises
    ------
    ConfigError
        If the corpus is wrong.
    StaleInputError
        If an unfinished training was made from another corpus or configuration.
    MosdeployError
        If another training holds the folder, the loss diverges or the disk is full.
    """
    from ..training.distributed import init_distributed

    with init_distributed(run.config.training) as ranks, ExitStack() as held:
        prepared = parse(
            PreparedData,
            json.loads(ranks.first("prepared", lambda: _prepare(run, held, progress))),
            "rank 0",
        )
        if not prepared.finished:
            ranks.first("trained", _train(run, prepared, ranks, progress))
        return run.supernet_card()


class PreparedData(Record):
    """What the first rank found and tells the others."""

    inputs_sha256: str
    corpus_sha256: str
    finished: bool = False


def _prepare(run: Run, held: ExitStack, progress: Progress) -> str:
    """Hold the folder; make of the corpus what all ranks read. The first rank's part."""
    from ..families.translation.corpus import load_corpus
    from ..families.translation.dataset import tokenize
    from ..training.trainer import check_inputs

    files, max_tokens = run.workspace, run.config.corpus.max_tokens
    busy = MosdeployError(
        f"another `mosdeploy train` runs in {run.workspace.root.absolute()}; wait for it, or stop it"
    )
    held.enter_context(locked(files.supernet_path, busy))
    corpus = load_corpus(run.config.corpus, files.root)
    prepared = PreparedData(inputs_sha256=_made_from(run, corpus), corpus_sha256=corpus.sha256)
    if _finished(run, prepared.inputs_sha256):
        progress.say("already trained from this corpus and configuration")
        return prepared.model_copy(update={"finished": True}).model_dump_json()
    check_inputs(files.checkpoint_path, prepared.inputs_sha256)  # before anything is overwritten
    tokenizer = _tokenizer(run, corpus)
    pairs = tokenize(tokenizer, corpus.train, max_tokens)
    write_record(files.corpus_card_path, _corpus_card(run, corpus, pairs.num_too_long))
    dropped = ", ".join(f"{reason} {count}" for reason, count in corpus.dropped.items()) or "none"
    progress.say(
        f"corpus: {len(pairs)} training, {len(corpus.valid)} validation, {len(corpus.test)} test pairs; "
        f"dropped: {dropped}, too many pieces {pairs.num_too_long}"
    )
    write_pieces(files.supernet_path.parent, pairs, tokenize(tokenizer, corpus.valid, max_tokens))
    return prepared.model_dump_json()


def _train(
    run: Run, prepared: PreparedData, ranks: "DistributedContext", progress: Progress
) -> Callable[[], str]:
    """Train, together with the other ranks; what is then left to do, for the first of them, is
    given back.
    """
    from ..families.translation.tokenizer import Tokenizer
    from ..training.trainer import fresh_supernet
    from ..training.trainer import train as train_supernet

    config, files = run.config, run.workspace
    batches, valid = read_pieces(files.supernet_path.parent, config.training)
    vocab_size = Tokenizer(files.tokenizer_path).vocab_size
    net = fresh_supernet(config.space, vocab_size, config.supernet, config.training.seed)
    summary = train_supernet(
        net,
        batches,
        valid,
        config.training,
        files.checkpoint_path,
        files.training_log_path,
        prepared.inputs_sha256,
        shown("train", progress) if ranks.is_first else None,
        ranks,
    )

    def finish() -> str:
        from ..supernet.checkpoint import save_supernet

        save_supernet(files.supernet_path, net)
        write_record(files.supernet_card_path, _supernet_card(run, prepared, vocab_size, summary))
        files.checkpoint_path.unlink()  # the optimiser's state; what stays is the supernet
        forget_pieces(files.supernet_path.parent)
        return ""

    return finish


@dataclass(frozen=True)
class TrainedRun:
    """A trained run: what the verbs after `train` compute with."""

    run: Run
    card: SupernetCard

    @cached_property
    def net(self) -> "Supernet":
        """The supernet, in eval mode."""
        from ..supernet.checkpoint import load_supernet

        return load_supernet(self.run.workspace.supernet_path)

    @cached_property
    def corpus(self) -> "Corpus":
        """The pairs that the supernet was trained, or is to be judged, on.

        Raises
        ------
        StaleInputError
            If the corpus or the configuration is not what the supernet was trained from.
        """
        from ..families.translation.corpus import load_corpus

        corpus = load_corpus(self.run.config.corpus, self.run.workspace.root)
        if _made_from(self.run, corpus) != self.card.inputs_sha256:
            changed = "corpus" if corpus.sha256 != self.card.corpus_sha256 else "configuration"
            raise StaleInputError(
                f"the {changed} is not the one that the supernet was trained from; restore it, "
                "or run `mosdeploy train` again"
            )
        return corpus

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer that the supernet was trained with."""
        from ..families.translation.tokenizer import Tokenizer

        return Tokenizer(self.run.workspace.tokenizer_path)

    def valid_pairs(self, num_pairs: int) -> "TokenizedPairs":
        """So many of the validation pairs, drawn the same way in every run, as piece ids."""
        from ..families.translation.dataset import tokenize

        valid = self.corpus.valid
        rows = np.sort(np.random.default_rng(VALID_SEED).permutation(len(valid))[:num_pairs])
        return tokenize(
            self.tokenizer, [valid[row] for row in rows], self.run.config.corpus.max_tokens
        )

    def subnet(self, arch: ArchConfig) -> "Subnet":
        """An inherited subnet."""
        from ..families.translation.network import extract

        return extract(self.net, arch)

    def arch(self, name: str) -> ArchConfig:
        """Which architecture a name means: largest, smallest, winner, or a JSON file.

        Raises
        ------
        StaleInputError
            If the winner is asked for before a search, or was found in another supernet.
        ConfigError
            If the file is missing or is not an architecture.
        ArchError
            If the architecture is not in the space.
        """
        space = self.run.config.space
        if name in ("largest", "smallest"):
            return space.largest if name == "largest" else space.smallest
        if name == "winner":
            return self.search_result().winner.arch
        if not Path(name).exists():
            raise ConfigError(
                f"'{name}' is no architecture: write largest, smallest, winner or a JSON file's name"
            )
        arch = parse_json_file(ArchConfig, Path(name))
        space.check(arch)
        return arch

    def search_result(self) -> SearchResult:
        """What `search` found in this supernet.

        Raises
        ------
        StaleInputError
            If there is no result, or it was found in another supernet or for another workload.
        """
        result = read_record(
            SearchResult, self.run.workspace.search_result_path, "mosdeploy search"
        )
        if result.supernet_sha256 != self.card.supernet_sha256:
            raise StaleInputError(
                f"{self.run.workspace.search_result_path} was found in another supernet; run `mosdeploy search` again"
            )
        if result.workload != self.run.config.workload:
            raise StaleInputError(
                f"{self.run.workspace.search_result_path} was found for another workload than [workload] says now; "
                "restore it, or run `mosdeploy search` again"
            )
        return result

    def translate(self, subnet: "Subnet", sources: list[list[int]], beam: int) -> list[list[int]]:
        """Piece ids to piece ids by a torch subnet, within the limits of [export]."""
        from ..families.translation.decoding import translate

        limits = self.run.config.export
        return translate(subnet, sources, beam, limits.max_decode_steps, limits.length_penalty)


def trained(run: Run) -> TrainedRun:
    """What stands behind a trained run.

    Raises
    ------
    StaleInputError
        If it is not trained, or was trained on another search space.
    """
    return TrainedRun(run, run.supernet_card())


def _made_from(run: Run, corpus: "Corpus") -> str:
    """Fingerprint of everything that a training depends on."""
    config = run.config
    pieces = (config.corpus.vocab_size, config.corpus.max_tokens)
    return fingerprint(corpus.sha256, *pieces, config.space, config.supernet, config.training)


def _supernet_card(
    run: Run, prepared: PreparedData, vocab_size: int, summary: "TrainingSummary"
) -> SupernetCard:
    files, config = run.workspace, run.config.supernet
    return SupernetCard(
        inputs_sha256=prepared.inputs_sha256,
        space_sha256=run.space_sha256,
        corpus_sha256=prepared.corpus_sha256,
        tokenizer_sha256=sha256_file(files.tokenizer_path),
        supernet_sha256=sha256_file(files.supernet_path),
        steps=summary.steps,
        vocab_size=vocab_size,
        routing=config.routing,
        num_experts=config.num_experts,
        largest_loss=summary.losses["largest_loss"],
        smallest_loss=summary.losses["smallest_loss"],
        train_seconds=summary.train_seconds,
    )


def _finished(run: Run, inputs_sha256: str) -> bool:
    """Whether a supernet that was trained from the same stands whole."""
    try:
        return run.supernet_card().inputs_sha256 == inputs_sha256
    except StaleInputError:
        return False


def _tokenizer(run: Run, corpus: "Corpus") -> "Tokenizer":
    from ..families.translation.tokenizer import Tokenizer, train_tokenizer

    files, vocab_size = run.workspace, run.config.corpus.vocab_size
    if files.corpus_card_path.exists() and files.tokenizer_path.exists():
        card = read_record(CorpusCard, files.corpus_card_path, "mosdeploy train")
        if (card.sha256, card.vocab_size, card.tokenizer_sha256) == (
            corpus.sha256,
            vocab_size,
            sha256_file(files.tokenizer_path),
        ):
            return Tokenizer(files.tokenizer_path)
    train_tokenizer(corpus.train, vocab_size, files.tokenizer_path)
    return Tokenizer(files.tokenizer_path)


def _corpus_card(run: Run, corpus: "Corpus", num_too_long: int) -> CorpusCard:
    return CorpusCard(
        source_lang=run.config.corpus.source_lang,
        target_lang=run.config.corpus.target_lang,
        num_train=len(corpus.train),
        num_valid=len(corpus.valid),
        num_test=len(corpus.test),
        dropped={**corpus.dropped, "too_many_pieces": num_too_long},
        sha256=corpus.sha256,
        vocab_size=run.config.corpus.vocab_size,
        tokenizer_sha256=sha256_file(run.workspace.tokenizer_path),
    )
