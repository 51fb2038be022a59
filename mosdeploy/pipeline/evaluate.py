"""The verb that translates the test set: evaluate."""

from ..errors import ConfigError
from ..records import Scores, ScoreTable
from ..spaces.costs import num_parameters
from ..storage import write_record
from .run import Progress, Run
from .subnets import choose, trained_alone
from .token_files import VALIDATION_TOKENS
from .train import trained


def evaluate(
    run: Run, names: tuple[str, ...] | None, beam: int | None, progress: Progress
) -> ScoreTable:
    """Translate the test set with inherited subnets, and with what these became when they were
    trained alone.

    Parameters
    ----------
    names
        As `TrainedRun.arch` takes them; None: largest, smallest, and the winner if there is one.

    Raises
    ------
    ConfigError
        If there are no test pairs.
    StaleInputError
        If the run is not trained, or `winner` is asked for before a search.
    """
    from ..families.translation.dataset import ordered_batches
    from ..families.translation.decoding import bleu_chrf, validation_loss

    state, beam = trained(run), beam or run.config.workload.beam
    if names is None:
        names = (
            "largest",
            "smallest",
            *(["winner"] if run.workspace.search_result_path.exists() else []),
        )
    archs = {name: state.arch(name) for name in names}
    if not state.corpus.test:
        raise ConfigError(
            "the corpus has no test pairs; name some as corpus.test, or raise corpus.test_fraction"
        )
    sources = state.tokenizer.encode_many([source for source, _ in state.corpus.test])
    references = [target for _, target in state.corpus.test]
    valid = ordered_batches(state.valid_pairs(len(state.corpus.valid)), VALIDATION_TOKENS)
    judged = {name: choose(state, arch, "inherited") for name, arch in archs.items()}
    for name, arch in archs.items():
        judged |= {f"{name}, {other.weights}": other for other in trained_alone(state, arch)}
    subnets = {}
    for done, (name, chosen) in enumerate(judged.items()):
        progress.update("evaluate", done, len(judged), name)
        outputs = [
            state.tokenizer.decode(ids) for ids in state.translate(chosen.subnet, sources, beam)
        ]
        bleu, chrf = bleu_chrf(outputs, references)
        subnets[name] = Scores(
            arch=chosen.subnet.arch,
            num_parameters=num_parameters(
                run.config.space, chosen.subnet.arch, state.card.vocab_size
            ),
            bleu=bleu,
            chrf=chrf,
            loss=validation_loss(chosen.subnet, valid),
            num_pairs=len(references),
            beam=beam,
            weights=chosen.weights,
        )
    progress.update("evaluate", len(judged), len(judged))
    table = ScoreTable(
        supernet_sha256=state.card.supernet_sha256,
        corpus_sha256=state.card.corpus_sha256,
        subnets=subnets,
    )
    write_record(run.workspace.scores_path, table)
    return table
