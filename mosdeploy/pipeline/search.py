"""The verb `search`: search the supernet, then measure the finalists on the device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.device import load_profile
from ..config.sections import SearchConfig
from ..config.units import Statistic
from ..errors import ConfigError, PredictorError, StaleInputError
from ..evaluation.distributed import DistributedEvaluator
from ..records import NO_LIMITS, Candidate, Limits, QualityCard, SearchResult
from ..run_folder.catalog import Catalog, search_command
from ..run_folder.context import Context
from ..run_folder.devices import check_reachable, check_real
from ..run_folder.predictors import predictor, tail_ratio
from ..run_folder.trained_run import VALID_SEED, TrainedRun, cost_function, trained_run
from ..spaces.genes import ArchConfig, GeneArray
from ..storage import fingerprint, write_record
from ..version import __version__
from .finalist_timing import FinalistTiming
from .finalist_training import FinalistTraining
from .shown_search import ShownSearch
from .time_loss import TimeLoss, time_loss
from .verified import FinalistVerification, first_evolution

if TYPE_CHECKING:
    from ..evaluation.cache import BlockLosses, EvaluationCache, Losses, Measure
    from ..latency.predictor import LatencyPredictor
    from ..search import Evolution, SearchOracle
    from ..search.oracle import FloatArray, PredictMs
    from ..search.surrogate import PredictLoss
    from ..training.distributed import DistributedContext


@dataclass(frozen=True)
class SearchOptions:
    """What `search` looks for."""

    device: str | None = None
    limits: Limits = NO_LIMITS
    verify: bool = True
    statistic: Statistic | None = None


def search_limits(config: SearchConfig, asked: Limits) -> Limits:
    """Fill up the limits that were asked for from [search]; refuse a search without any."""
    limits = asked.filled_up(Limits.configured(config))
    if limits == NO_LIMITS:
        raise ConfigError(
            "a search needs a limit: give --max-latency 150ms, --max-parameters 4M, "
            "--max-size 12MiB or --max-memory 200MiB, or write one under [search] in mosdeploy.toml"
        )
    return limits


def search(context: Context, options: SearchOptions | None = None) -> SearchResult:
    """Find the subnet of lowest validation loss within the limits, as measured on the device."""
    from ..training.distributed import init_distributed

    options = options or SearchOptions()
    if (base := context.config.supernet_from) is not None:
        raise ConfigError(
            "this task takes what was found in the supernet that serves it: search in "
            f"{context.files.root / base}, then run `mosdeploy train` here"
        )
    name = context.run.profiled_device_name(options.device)
    load_profile(name, context.files.root)
    limits = search_limits(context.config.search, options.limits)
    state = trained_run(context.run, context.progress)
    if options.verify:
        check_real(context, name)
    with init_distributed(context.config.training) as distributed:
        evaluator = DistributedEvaluator(distributed, _measure_losses(state, distributed))

        def lead() -> str:
            try:
                if options.verify:
                    check_reachable(context, name)
                statistic = options.statistic or context.config.search.statistic
                # here, as it may be fitted and saved
                found = _predictor(context, name, limits, statistic)
                task = _SearchTask(context, state, name, limits, options.verify, statistic, *found)
                return task.run(evaluator.measure).model_dump_json()
            finally:
                evaluator.shutdown()

        if not distributed.is_first:
            evaluator.serve()
        return SearchResult.model_validate_json(distributed.first("searched", lead))


@dataclass(frozen=True)
class _SearchTask:
    """One search: what for, in which supernet, by which predictor."""

    context: Context
    state: TrainedRun
    device: str
    limits: Limits
    verify: bool
    statistic: Statistic
    predictor: "LatencyPredictor | None"
    tail_ratio: float  # one for all evolutions: what this search measures is in their `level`

    def run(self, measure: "Measure") -> SearchResult:
        """Search and measure; the result is written. One search at a time in a folder."""
        files = self.context.files
        config = self.context.config.search
        command = search_command(
            self.context, self.limits, self.device, self.statistic, verify=self.verify
        )
        with Catalog(self.context, read_data=False).search.make(command, again=True):
            cache, inherited = _cached_losses(self.state, measure)
            timed = time_loss(self.state, self.context.progress)
            cards = list[QualityCard | None]()
            stopped = list[int]()

            def evolve(level: float, excess_bytes: int) -> "Evolution":
                before = cache.num_early_stopped
                found, card = self._evolve(inherited, timed, level, excess_bytes)
                cards.append(card)
                # the result is of the last evolution alone, and so is `num_evaluated`
                stopped.append(cache.num_early_stopped - before)
                return found

            model = self.predictor if self.verify else None
            evolution, level = first_evolution(self.context, self.limits, model, evolve)
            measured = list[Candidate]()
            winner = evolution.ranked[0]
            training = FinalistTraining(self.state, config.finalist_steps, self.context.progress)
            if self.verify:
                task = self._verification(evolution, level, evolve, training)
                winner, measured = task.run()
                evolution = task.evolution
                level = task.level
            elif training.steps:
                winner = training.best_of(self._finalists_to_train(evolution))
            result = self._result(evolution, winner).model_copy(
                update={
                    "finalists": tuple(measured),
                    "num_early_stopped": stopped[-1],
                    "quality": cards[-1],
                    "level": level,
                }
            )
            write_record(files.search_result_path, result)
            training.keep_only(winner.arch)
        return result

    def _result(self, evolution: "Evolution", winner: Candidate) -> SearchResult:
        """What is known without the measurements of finalists and the cost of evaluations."""
        from ..search import with_winner

        return SearchResult(
            device=self.device,
            workload=self.context.config.workload,
            limits=self.limits,
            statistic=self.statistic,
            space_sha256=self.context.run.space_sha256,
            supernet_sha256=self.state.card.supernet_sha256,
            predictor_sha256=fingerprint(self.predictor) if self.predictor else None,
            winner=winner,
            verified=self.verify,
            finalists=(),
            front=with_winner(evolution.front, winner),
            num_evaluated=evolution.num_evaluated,
            num_early_stopped=0,
            num_predicted=evolution.num_predicted,
            weighs_time=self.state.weighs_time,
            seed=self.context.config.search.seed,
        )

    def _verification(
        self,
        evolution: "Evolution",
        level: float,
        evolve: "Callable[[float, int], Evolution]",
        training: FinalistTraining,
    ) -> FinalistVerification:
        """What measures finalists, and trains those that keep the limits if that is wanted."""
        return FinalistVerification(
            FinalistTiming(self.context, self.device, self.statistic),
            self.limits,
            evolution,
            self.predictor,
            evolve,
            training.losses if training.steps else None,
            level=level,
        )

    def _evolve(
        self, inherited: "Losses", timed: TimeLoss | None, level: float, excess_bytes: int
    ) -> "tuple[Evolution, QualityCard | None]":
        """What a search sees whose predicted latencies are multiplied by `level`, where
        `excess_bytes` of memory are taken besides what is predicted: on true losses, or by a
        quality predictor, whose card comes along. `timed` is added to losses, and noted.
        """
        from ..evaluation.predictor import MIN_SAMPLES, QualityPredictor
        from ..search import evolve, evolve_predicted, with_deeper, with_wider

        config = self.context.config
        shown = ShownSearch(self.context.progress, self._num_iterations)
        losses = timed.added(inherited) if timed else inherited
        oracle = self._oracle(shown.counted(losses), level)
        limits = _with_less_memory(self.limits, excess_bytes)
        fitted: list[QualityPredictor] = []

        def fit(genes: GeneArray, known: "FloatArray") -> "PredictLoss":
            fitted.append(QualityPredictor.fit(config.space, genes, known))
            return fitted[-1].predict

        if config.search.quality == "predict":
            found = evolve_predicted(
                config.space, config.search, limits, oracle, fit, shown.show, MIN_SAMPLES
            )
        else:
            found = evolve(config.space, config.search, limits, oracle, shown.show)
        noted = timed.noted if timed else (lambda evolution: evolution)
        found = noted(found)
        # measured of winners that start from parts of a teacher alone
        if config.search.deepen and self.state.has_parts_of_teacher:
            found = noted(with_deeper(found, config.space, limits, oracle))
        if config.search.widen:
            count = config.search.finalists
            found = noted(with_wider(found, config.space, limits, oracle, count))
        shown.tell_of(found.ranked[0].loss, found.num_evaluated)
        return found, fitted[-1].card if fitted else None

    @property
    def _num_iterations(self) -> int:
        from ..search.surrogate import NUM_ROUNDS

        config = self.context.config.search
        return NUM_ROUNDS if config.quality == "predict" else config.iterations

    def _finalists_to_train(self, evolution: "Evolution") -> list[Candidate]:
        from ..search import finalists_to_train

        config = self.context.config
        ranked = evolution.ranked
        return finalists_to_train(ranked, ranked, config.search.finalists, config.space.depths)

    def _oracle(self, losses: "Losses", level: float) -> "SearchOracle":
        from ..search import SearchOracle

        predict_ms = None
        if self.predictor is not None:
            predict_ms = _scaled(self.predictor.predict, self.tail_ratio * level)
        return SearchOracle(
            losses=losses,
            cost=cost_function(
                self.state.spec, self.state.family, len(self.state.tokenizer_bytes())
            ),
            predict_ms=predict_ms,
        )


def _with_less_memory(limits: Limits, excess_bytes: int) -> Limits:
    """Limits for predictions, where a process takes so many bytes more than is predicted."""
    if limits.max_memory_bytes is None:
        return limits
    left_bytes = max(limits.max_memory_bytes - excess_bytes, 1)
    return limits.model_copy(update={"max_memory_bytes": left_bytes})


def _scaled(predict_ms: "PredictMs", ratio: float) -> "PredictMs":
    """Predictions of medians as those of another figure of the times, or of another level."""
    return lambda genes: predict_ms(genes) * ratio


def _predictor(
    context: Context, device: str, limits: Limits, statistic: Statistic
) -> "tuple[LatencyPredictor | None, float]":
    """The device's predictor and what turns its medians into another figure; without a latency
    limit a search can do without.
    """
    try:
        return predictor(context.run, device), tail_ratio(context.run, device, statistic)
    except (StaleInputError, PredictorError):
        if limits.max_latency_ms is not None:
            raise
        return None, 1.0


def _cached_losses(state: TrainedRun, measure: "Measure") -> "tuple[EvaluationCache, Losses]":
    """Validation losses of inherited subnets; those of a killed search are not computed again."""
    from ..evaluation.cache import EvaluationCache
    from ..evaluation.proxy import ProxyEvaluator

    inputs = fingerprint(
        __version__,
        state.card.supernet_sha256,
        state.data.sha256,
        state.config.search.eval_examples,
        VALID_SEED,
        ProxyEvaluator.rule,
    )
    cache = EvaluationCache(state.files.quality_path, inputs)
    return cache, cache.wrap(measure)


def _measure_losses(state: TrainedRun, distributed: "DistributedContext") -> "Measure":
    """What measures inherited subnets in this process, on the device that [training] names."""
    from ..evaluation.proxy import ProxyEvaluator
    from ..training.device import DeviceContext

    evaluator = ProxyEvaluator(state.validation_set(state.config.search.eval_examples))
    state.net.to(DeviceContext.of(state.config.training, distributed.local_rank).device)

    def measure(
        archs: Sequence[ArchConfig], incumbents: "Sequence[BlockLosses | None]"
    ) -> "Iterator[BlockLosses]":
        for arch, incumbent in zip(archs, incumbents, strict=True):
            yield evaluator.evaluate(state.subnet(arch), incumbent)

    return measure
