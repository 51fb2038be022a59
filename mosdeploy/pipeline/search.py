"""The verb that joins all rooms: search the supernet, then measure the finalists on the device."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.device import load_profile
from ..config.sections import SearchConfig
from ..config.units import parse_count, parse_duration_ms
from ..errors import ConfigError, InfeasibleError, MosdeployError, PredictorError, StaleInputError
from ..evaluation.distributed import DistributedEvaluator
from ..records import Candidate, Limits, QualityCard, SearchResult
from ..spaces.costs import num_parameters
from ..spaces.genes import ArchConfig, GeneArray
from ..storage import fingerprint, locked, write_record
from .collect import collect
from .predictors import predictor
from .run import Progress, Run
from .train import VALID_SEED, TrainedRun, trained

if TYPE_CHECKING:
    from ..evaluation.cache import BlockLosses, EvaluationCache, Losses, Measure
    from ..latency.predictor import LatencyPredictor
    from ..search import Cost, Evolution
    from ..search.surrogate import FloatArray, PredictLoss
    from ..training.distributed import DistributedContext

MAX_VERIFY_ROUNDS = 3
"""How often further finalists are measured when none of those before kept the limit."""
MAX_MARGIN = 0.9


def search(
    run: Run, device: str | None, limits: Limits, verify: bool, ssh_config: Path, progress: Progress
) -> SearchResult:
    """Find the subnet of lowest validation loss within the limits; the winner keeps them as
    measured on the device.

    Parameters
    ----------
    limits
        From the command line; what it leaves open comes from the config.
    verify
        Measure the finalists. Without it the winner is a prediction, and the result says so.

    Raises
    ------
    ConfigError
        If there is no limit at all.
    StaleInputError
        If the run is not trained, or no latency was measured on the device.
    PredictorError
        If the winner is to be measured on an emulated device, whose times mean nothing; or if the
        device has no predictor that suits, and a latency limit needs one.
    InfeasibleError
        If nothing keeps the limits, as predicted or as measured.
    DeviceError
        If the device fails while the finalists are measured.
    """
    from ..training.distributed import init_distributed

    limits = _with_defaults(limits, run.config.search)
    state, name = trained(run), run.profiled_device_name(device)
    if verify and load_profile(name, run.workspace.root).emulated:
        raise PredictorError(
            f"{name} is an emulated device: its times mean nothing, so no finalist is measured there; search for a "
            "real device, or use --no-verify"
        )
    model = _predictor(run, name, limits)
    with init_distributed(run.config.training) as ranks:
        evaluator = DistributedEvaluator(ranks, _reader(state, ranks))

        def lead() -> str:
            try:
                return _search(
                    state, name, limits, model, verify, evaluator, ssh_config, progress
                ).model_dump_json()
            finally:
                evaluator.shutdown()

        if not ranks.is_first:
            evaluator.serve()
        return SearchResult.model_validate_json(ranks.first("searched", lead))


def _search(
    state: TrainedRun,
    name: str,
    limits: Limits,
    model: "LatencyPredictor | None",
    verify: bool,
    evaluator: DistributedEvaluator,
    ssh_config: Path,
    progress: Progress,
) -> SearchResult:
    from ..search import choose_winner

    run = state.run
    busy = MosdeployError(
        f"another `mosdeploy search` runs in {run.workspace.root.absolute()}; wait for it, or stop it"
    )
    with locked(run.workspace.quality_path, busy):
        cache, losses = _losses(state, evaluator.measure)
        evolution, quality = _evolve(state, cache.inputs_sha256, losses, limits, model, progress)
        if verify:
            margin = math.expm1(model.interval) if model else 0.0
            measured = _measure(run, name, evolution, limits, margin, ssh_config, progress)
            winner = choose_winner(measured, limits)
        else:
            measured, winner = [], evolution.ranked[0]
        result = SearchResult(
            device=name,
            workload=run.config.workload,
            limits=limits,
            space_sha256=run.space_sha256,
            supernet_sha256=state.card.supernet_sha256,
            predictor_sha256=fingerprint(model) if model else None,
            winner=winner,
            verified=verify,
            finalists=tuple(measured),
            front=evolution.front,
            num_evaluated=evolution.num_evaluated,
            num_early_stopped=cache.num_early_stopped,
            num_predicted=evolution.num_predicted,
            quality=quality,
            seed=run.config.search.seed,
        )
        write_record(run.workspace.search_result_path, result)
    return result


def _with_defaults(limits: Limits, config: SearchConfig) -> Limits:
    merged = Limits(
        max_latency_ms=limits.max_latency_ms
        or (config.max_latency and parse_duration_ms(config.max_latency))
        or None,
        max_parameters=limits.max_parameters
        or (config.max_parameters and parse_count(config.max_parameters))
        or None,
        max_size_bytes=limits.max_size_bytes
        or (config.max_size and parse_count(config.max_size))
        or None,
    )
    if merged == Limits():
        raise ConfigError(
            "a search needs a limit: give --max-latency 150ms, --max-parameters 4M or --max-size 12MiB, "
            "or write one under [search] in mosdeploy.toml"
        )
    return merged


def _predictor(run: Run, device: str, limits: Limits) -> "LatencyPredictor | None":
    """The device's predictor; without a latency limit a search can do without."""
    try:
        return predictor(run, device)
    except (StaleInputError, PredictorError):
        if limits.max_latency_ms is not None:
            raise
        return None


def _evolve(
    state: TrainedRun,
    inputs_sha256: str,
    losses: "Losses",
    limits: Limits,
    model: "LatencyPredictor | None",
    progress: Progress,
) -> "tuple[Evolution, QualityCard | None]":
    """What the search saw, on true losses or by a quality predictor, which is saved and whose card
    comes along.
    """
    from ..evaluation.predictor import QualityPredictor
    from ..search import evolve, evolve_predicted

    config, fitted = state.run.config, list[QualityPredictor]()

    def fit(genes: GeneArray, known: "FloatArray") -> "PredictLoss":
        fitted.append(QualityPredictor.fit(config.space, genes, known, inputs_sha256))
        return fitted[-1].predict

    options: dict[str, Any] = {
        "losses": losses,
        "cost": _cost(state),
        "predict_ms": model.predict if model else None,
        "progress": lambda p: progress.update(
            "search",
            p.iteration,
            p.iterations,
            f"best loss {p.best_loss:.4f}, {p.num_evaluated} subnets",
        ),
    }
    if config.search.quality == "evaluate":
        return evolve(config.space, config.search, limits, **options), None
    evolution = evolve_predicted(config.space, config.search, limits, fit=fit, **options)
    fitted[-1].save(state.run.workspace.quality_predictor_path)
    return evolution, fitted[-1].card


def _losses(state: TrainedRun, measure: "Measure") -> "tuple[EvaluationCache, Losses]":
    """Validation losses of inherited subnets; what a killed search computed is not computed again."""
    from ..evaluation.cache import EvaluationCache
    from ..evaluation.proxy import ProxyEvaluator

    num_pairs = state.run.config.search.eval_examples
    inputs_sha256 = fingerprint(
        state.card.supernet_sha256, state.corpus.sha256, num_pairs, VALID_SEED, ProxyEvaluator.rule
    )
    cache = EvaluationCache(state.run.workspace.quality_path, inputs_sha256)
    return cache, cache.wrap(measure)


def _reader(state: TrainedRun, ranks: "DistributedContext") -> "Measure":
    """What measures inherited subnets in this process, on the device that [training] names."""
    from ..evaluation.proxy import ProxyEvaluator
    from ..training.device import DeviceContext

    evaluator = ProxyEvaluator(state.valid_pairs(state.run.config.search.eval_examples))
    state.net.to(DeviceContext.of(state.run.config.training, ranks.local).device)

    def measure(
        archs: Sequence[ArchConfig], incumbents: "Sequence[BlockLosses | None]"
    ) -> "Iterator[BlockLosses]":
        for arch, incumbent in zip(archs, incumbents, strict=True):
            yield evaluator.read(state.subnet(arch), incumbent)

    return measure


def _cost(state: TrainedRun) -> "Callable[[ArchConfig], Cost]":
    from ..export.candidate import bundle_bytes
    from ..search import Cost

    space, vocab_size, workload = (
        state.run.config.space,
        state.card.vocab_size,
        state.run.config.workload,
    )
    return lambda arch: Cost(
        num_parameters(space, arch, vocab_size),
        bundle_bytes(arch, space, vocab_size, workload.precision, workload.beam),
    )


def _measure(
    run: Run,
    device: str,
    evolution: "Evolution",
    limits: Limits,
    margin: float,
    ssh_config: Path,
    progress: Progress,
) -> list[Candidate]:
    """Finalists with their measured latency: more of them as long as none keeps the limit, in
    bounded rounds.
    """
    from ..search import choose_winner, finalists

    target = load_profile(device, run.workspace.root)
    path = run.workspace.verified_path(device, run.config.workload.name)
    measured: list[Candidate] = []
    for attempt in range(
        1, MAX_VERIFY_ROUNDS + 1
    ):  # each goes further below the limit than the one before
        exclude = [candidate.arch.key for candidate in measured]
        chosen = finalists(
            evolution,
            limits,
            run.config.search.finalists,
            exclude,
            min(attempt * margin, MAX_MARGIN),
        )
        if not chosen:
            break
        archs = [candidate.arch for candidate in chosen]
        dataset = collect(run, target, archs, path, ssh_config, progress).dataset
        for candidate in chosen:
            timing = dataset.measured[candidate.arch.key].measurement.total
            measured.append(
                candidate.model_copy(update={"measured_ms": timing.median_ms if timing else None})
            )
        try:
            choose_winner(measured, limits)
            break
        except InfeasibleError:
            continue
    return measured
