"""The verb `search`: search the supernet, then measure the finalists on the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..config.device import load_profile
from ..config.units import Statistic
from ..errors import ConfigError, PredictorError, StaleInputError
from ..records import Candidate, Limits, SearchResult
from ..run_folder.catalog import Catalog, search_command
from ..run_folder.context import Context, Progress
from ..run_folder.devices import check_reachable, check_real
from ..run_folder.options import SearchOptions
from ..run_folder.predictors import predictor, tail_ratio
from ..run_folder.teacher import DRAW_SEED
from ..run_folder.trained_run import TrainedRun, cost_function, trained_run
from ..spaces.genes import ArchConfig, GeneArray
from ..storage import fingerprint, write_record
from ..version import __version__
from .equal_time import StepTimePenalty, step_time_penalty
from .finalists import FinalistMeasurement, FinalistTiming, initial_search

if TYPE_CHECKING:
    from ..latency.predictor import LatencyPredictor
    from ..search import Evolution, Iteration
    from ..search.constraints import FloatArray, LossesOf

EVAL_TOKENS = 512
"""Positions a batch: on a processor padding costs more than one more batch does."""


def search(context: Context, options: SearchOptions | None = None) -> SearchResult:
    """Find the subnet of lowest validation loss within the limits, as measured on the device."""
    options = options or SearchOptions()
    if (base := context.config.supernet_from) is not None:
        raise ConfigError(
            "this task takes what was found in the supernet that serves it: search in "
            f"{context.files.root / base}, then run `mosdeploy train` here"
        )
    name = context.run.profiled_device_name(options.device)
    load_profile(name, context.files.root)
    limits = options.limits(context.config.search)
    state = trained_run(context.run, context.progress)
    if options.verify:
        check_real(context, name)
        check_reachable(context, name)
    statistic = options.statistic or context.config.search.statistic
    # may be fitted and saved
    found = _predictor(context, name, limits, statistic)
    return _SearchTask(context, state, name, limits, options.verify, statistic, *found).run()


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

    def run(self) -> SearchResult:
        """Search and measure; the result is written. One search at a time in a folder."""
        files = self.context.files
        command = search_command(
            self.context, self.limits, self.device, self.statistic, verify=self.verify
        )
        with Catalog(self.context, read_data=False).search.make(command, again=True):
            losses = _inherited_losses(self.state)
            penalty = step_time_penalty(self.state, self.context.progress)

            def evolve(level: float, excess_bytes: int) -> "Evolution":
                return self._evolve(losses, penalty, level, excess_bytes)

            model = self.predictor if self.verify else None
            evolution, level = initial_search(self.context, self.limits, model, evolve)
            winner = evolution.ranked[0]
            measured: list[Candidate] = []
            if self.verify:
                timing = FinalistTiming(self.context, self.device, self.statistic)
                task = FinalistMeasurement(
                    timing, self.limits, evolution, self.predictor, evolve, level=level
                )
                winner, measured = task.run()
                evolution = task.evolution
                level = task.level
            result = self._result(evolution, level, winner, measured)
            write_record(files.search_result_path, result)
        return result

    def _result(
        self,
        evolution: "Evolution",
        level: float,
        winner: Candidate,
        measured: Sequence[Candidate],
    ) -> SearchResult:
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
            finalists=tuple(measured),
            front=with_winner(evolution.front, winner),
            num_evaluated=evolution.num_evaluated,
            level=level,
            weighs_time=self.state.weighs_time,
            seed=self.context.config.search.seed,
        )

    def _evolve(
        self,
        inherited: "LossesOf",
        penalty: StepTimePenalty | None,
        level: float,
        excess_bytes: int,
    ) -> "Evolution":
        """Search with predicted latencies times `level`, where `excess_bytes` of memory are taken
        besides what is predicted.
        """
        from ..search import SearchOracle, add_layers, evolve, widen_ffn

        config = self.context.config
        space = config.space
        limits = self.limits
        if limits.max_memory_bytes is not None:
            left_bytes = max(limits.max_memory_bytes - excess_bytes, 1)
            limits = limits.model_copy(update={"max_memory_bytes": left_bytes})
        progress = SearchProgress(self.context.progress, config.search.iterations)
        losses = progress.counted(penalty.added(inherited) if penalty else inherited)
        cost = cost_function(self.state.spec, self.state.family, len(self.state.tokenizer_bytes()))
        oracle = SearchOracle(losses, cost, time_loss=penalty)
        if (model := self.predictor) is not None:
            ratio = self.tail_ratio * level

            def predict_ms(genes: GeneArray) -> "FloatArray":
                # of medians, as another figure of the times and at another level
                return model.predict(genes) * ratio

            oracle = replace(oracle, predict_ms=predict_ms)
        found = evolve(space, config.search, limits, oracle, progress.show)
        # measured of winners that start from parts of a teacher alone
        if config.search.deepen and self.state.has_parts_of_teacher:
            found = add_layers(found, space, limits, oracle)
        if config.search.widen:
            found = widen_ffn(found, space, limits, oracle, config.search.finalists)
        progress.tell(found.ranked[0].loss, found.num_evaluated)
        return found


@dataclass
class SearchProgress:
    """Progress of a search, also within an iteration, which may take minutes."""

    progress: Progress
    num_iterations: int
    iteration: int = 0
    note: str = ""

    def show(self, iteration: "Iteration") -> None:
        """Tell that an iteration is over."""
        self.iteration = iteration.number
        self.tell(iteration.best_loss, iteration.num_evaluated)

    def tell(self, best_loss: float, num_evaluated: int) -> None:
        """Tell what was found so far."""
        self.note = f"best loss {best_loss:.4f}, {num_evaluated} subnets"
        self._update(self.note)

    def counted(self, losses: "LossesOf") -> "LossesOf":
        """Return the same losses, telling of each but the last of an iteration."""

        def counted(archs: Sequence[ArchConfig]) -> Iterator[float | None]:
            for done, loss in enumerate(losses(archs), 1):
                if done < len(archs):
                    more = f"{done} of {len(archs)} more"
                    self._update(f"{self.note}, {more}" if self.note else more)
                yield loss

        return counted

    def _update(self, note: str) -> None:
        self.progress.update("search", self.iteration, self.num_iterations, note)


def _predictor(
    context: Context, device: str, limits: Limits, statistic: Statistic
) -> "tuple[LatencyPredictor | None, float]":
    """Return the device's predictor and what turns its medians into another figure; without a
    latency limit a search can do without.
    """
    try:
        return predictor(context.run, device), tail_ratio(context.run, device, statistic)
    except (StaleInputError, PredictorError):
        if limits.max_latency_ms is not None:
            raise
        return None, 1.0


def _inherited_losses(state: TrainedRun) -> "LossesOf":
    """Return the validation losses of inherited subnets; those of a killed search are kept."""
    from ..data.batches import ordered_batches
    from ..search.loss_cache import LossCache
    from ..training.device import DeviceContext
    from ..training.validation import validation_loss

    batches = ordered_batches(state.validation_set(state.config.search.eval_examples), EVAL_TOKENS)
    state.net.to(DeviceContext.of(state.config.training).device)
    inputs = fingerprint(
        __version__,
        state.card.supernet_sha256,
        state.data.sha256,
        state.config.search.eval_examples,
        DRAW_SEED,
        EVAL_TOKENS,
    )
    cache = LossCache(state.files.quality_path, inputs)
    return cache.wrap(lambda arch: validation_loss(state.subnet(arch), batches))
