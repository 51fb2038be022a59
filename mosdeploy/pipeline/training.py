"""Verbs that need torch: train, evaluate; and the trained network that other verbs ask for."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, MosdeployError, StaleInputError
from ..records import CorpusCard, Scores, ScoreTable, SearchResult, SupernetCard
from ..schema import parse_json_file
from ..space import ArchConfig
from ..workspace import fingerprint, locked, read_record, sha256_file, write_record
from .run import Progress, Run
from .weights import choose, trained_alone

if TYPE_CHECKING:
    from ..supernet import Subnet, Supernet
    from ..training.batches import Batch
    from ..training.corpus import Corpus
    from ..training.tokenizer import Tokenizer

VALIDATION_TOKENS = 4096


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
    busy = MosdeployError(f"another `mosdeploy train` runs in {run.workspace.root.absolute()}; wait for it, or stop it")
    with locked(run.workspace.supernet_path, busy):
        return _train(run, progress)


def _train(run: Run, progress: Progress) -> SupernetCard:
    from ..supernet import save_supernet
    from ..training.batches import Batches, ordered_batches, tokenize
    from ..training.corpus import load_corpus
    from ..training.trainer import check_made_from, fresh_supernet
    from ..training.trainer import train as train_supernet

    config, files = run.config, run.workspace
    corpus = load_corpus(config.corpus, files.root)
    made_from = _made_from(run, corpus)
    if (card := _finished(run, made_from)) is not None:
        progress.say("already trained from this corpus and configuration")
        return card
    check_made_from(files.checkpoint_path, made_from)  # before anything is overwritten
    tokenizer = _tokenizer(run, corpus)
    max_pieces = config.corpus.max_pieces
    pairs = tokenize(tokenizer, corpus.train, max_pieces)
    write_record(files.corpus_card_path, _corpus_card(run, corpus, pairs.num_too_long))
    dropped = ", ".join(f"{reason} {count}" for reason, count in corpus.dropped.items()) or "none"
    progress.say(
        f"corpus: {len(pairs)} training, {len(corpus.valid)} validation, {len(corpus.test)} test pairs; "
        f"dropped: {dropped}, too many pieces {pairs.num_too_long}"
    )
    valid = ordered_batches(tokenize(tokenizer, corpus.valid, max_pieces), VALIDATION_TOKENS)
    net = fresh_supernet(config.space, tokenizer.vocab_size, config.supernet, config.training.seed)
    summary = train_supernet(
        net,
        Batches(pairs, config.training.tokens_per_batch, config.training.seed),
        valid,
        config.training,
        files.checkpoint_path,
        files.training_log_path,
        made_from,
        lambda update, total, loss, rate, _: progress.update(
            "train", update, total, f"loss {loss:.3f}, {rate:,.0f} tokens/s"
        ),
    )
    save_supernet(files.supernet_path, net)
    card = SupernetCard(
        made_from=made_from,
        space_sha256=run.space_sha256,
        corpus_sha256=corpus.sha256,
        tokenizer_sha256=sha256_file(files.tokenizer_path),
        supernet_sha256=sha256_file(files.supernet_path),
        updates=summary.updates,
        vocab_size=tokenizer.vocab_size,
        routing=config.supernet.routing,
        num_experts=config.supernet.num_experts,
        largest_loss=summary.losses["largest_loss"],
        smallest_loss=summary.losses["smallest_loss"],
        train_seconds=summary.train_seconds,
    )
    write_record(files.supernet_card_path, card)
    files.checkpoint_path.unlink()  # the optimiser's state; what stays is the supernet
    return card


@dataclass(frozen=True)
class Trained:
    """A trained run: what the verbs after `train` compute with."""

    run: Run
    card: SupernetCard

    @cached_property
    def net(self) -> "Supernet":
        """The supernet, in eval mode."""
        from ..supernet import load_supernet

        return load_supernet(self.run.workspace.supernet_path)

    @cached_property
    def corpus(self) -> "Corpus":
        """The pairs that the supernet was trained, or is to be judged, on.

        Raises
        ------
        StaleInputError
            If the corpus or the configuration is not what the supernet was trained from.
        """
        from ..training.corpus import load_corpus

        corpus = load_corpus(self.run.config.corpus, self.run.workspace.root)
        if _made_from(self.run, corpus) != self.card.made_from:
            changed = "corpus" if corpus.sha256 != self.card.corpus_sha256 else "configuration"
            raise StaleInputError(
                f"the {changed} is not the one that the supernet was trained from; restore it, "
                "or run `mosdeploy train` again"
            )
        return corpus

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer that the supernet was trained with."""
        from ..training.tokenizer import Tokenizer

        return Tokenizer(self.run.workspace.tokenizer_path)

    def valid_batches(self, num_pairs: int) -> "list[Batch]":
        """The first validation pairs, in batches."""
        from ..training.batches import ordered_batches, tokenize

        pairs = tokenize(self.tokenizer, self.corpus.valid[:num_pairs], self.run.config.corpus.max_pieces)
        return ordered_batches(pairs, VALIDATION_TOKENS)

    def subnet(self, arch: ArchConfig) -> "Subnet":
        """An inherited subnet."""
        from ..supernet import extract

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
            raise ConfigError(f"'{name}' is no architecture: write largest, smallest, winner or a JSON file's name")
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
        result = read_record(SearchResult, self.run.workspace.search_result_path, "mosdeploy search")
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
        from ..training.evaluate import translate

        limits = self.run.config.export
        return translate(subnet, sources, beam, limits.max_decode_steps, limits.length_penalty)


def trained(run: Run) -> Trained:
    """What stands behind a trained run.

    Raises
    ------
    StaleInputError
        If it is not trained, or was trained on another search space.
    """
    return Trained(run, run.supernet_card())


def evaluate(run: Run, names: tuple[str, ...] | None, beam: int | None, progress: Progress) -> ScoreTable:
    """Translate the test set with inherited subnets, and with what these became when they were trained alone.

    Parameters
    ----------
    names
        As `Trained.arch` takes them; None: largest, smallest, and the winner if there is one.

    Raises
    ------
    ConfigError
        If there are no test pairs.
    StaleInputError
        If the run is not trained, or `winner` is asked for before a search.
    """
    from ..training.evaluate import bleu_chrf, validation_loss

    state, beam = trained(run), beam or run.config.workload.beam
    if names is None:
        names = ("largest", "smallest", *(["winner"] if run.workspace.search_result_path.exists() else []))
    archs = {name: state.arch(name) for name in names}
    if not state.corpus.test:
        raise ConfigError("the corpus has no test pairs; name some as corpus.test, or raise corpus.test_fraction")
    sources = state.tokenizer.encode_many([source for source, _ in state.corpus.test])
    references = [target for _, target in state.corpus.test]
    valid = state.valid_batches(len(state.corpus.valid))
    judged = {name: choose(state, arch, "inherited") for name, arch in archs.items()}
    for name, arch in archs.items():
        judged |= {f"{name}, {other.weights}": other for other in trained_alone(state, arch)}
    subnets = {}
    for done, (name, chosen) in enumerate(judged.items()):
        progress.update("evaluate", done, len(judged), name)
        outputs = [state.tokenizer.decode(ids) for ids in state.translate(chosen.subnet, sources, beam)]
        bleu, chrf = bleu_chrf(outputs, references)
        subnets[name] = Scores(
            arch=chosen.subnet.arch,
            num_parameters=run.config.space.num_parameters(chosen.subnet.arch, state.card.vocab_size),
            bleu=bleu,
            chrf=chrf,
            loss=validation_loss(chosen.subnet, valid),
            num_pairs=len(references),
            beam=beam,
            weights=chosen.weights,
        )
    progress.update("evaluate", len(judged), len(judged))
    table = ScoreTable(
        supernet_sha256=state.card.supernet_sha256, corpus_sha256=state.card.corpus_sha256, subnets=subnets
    )
    write_record(run.workspace.scores_path, table)
    return table


def _made_from(run: Run, corpus: "Corpus") -> str:
    """Fingerprint of everything that a training depends on."""
    config = run.config
    pieces = (config.corpus.vocab_size, config.corpus.max_pieces)
    return fingerprint(corpus.sha256, *pieces, config.space, config.supernet, config.training)


def _finished(run: Run, made_from: str) -> SupernetCard | None:
    """The card of a supernet that was trained from the same and stands whole."""
    try:
        card = run.supernet_card()
    except StaleInputError:
        return None
    return card if card.made_from == made_from else None


def _tokenizer(run: Run, corpus: "Corpus") -> "Tokenizer":
    from ..training.tokenizer import Tokenizer, train_tokenizer

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
