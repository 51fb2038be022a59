"""The verb `search`: search the supernet, then measure the finalists on the device."""

import contextlib
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.device import load_profile
from ..config.units import Statistic
from ..errors import ConfigError, InfeasibleError, PredictorError, StaleInputError
from ..printable import byte_size
from ..records import Candidate, Limits, SearchResult
from ..run_folder.catalog import Catalog, search_command
from ..run_folder.context import Context, Progress
from ..run_folder.devices import check_reachable, check_real, run_profile
from ..run_folder.options import SearchOptions
from ..run_folder.predictors import predictor, recent_cutoff, tail_ratio
from ..run_folder.run import open_run
from ..run_folder.teacher import DRAW_SEED
from ..run_folder.trained_run import TrainedRun, cost_function, trained_run
from ..spaces.genes import ArchConfig, GeneArray
from ..storage import fingerprint, write_record
from ..version import __version__
from .equal_time import StepTimePenalty, step_time_penalty
from .measuring.collect import CollectRequest, collect

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset
    from ..latency.predictor import LatencyPredictor
    from ..search.constraints import FloatArray, LossesOf
    from ..search.evolution import Iteration
    from ..search.front import Evolution


MIN_NOISE = 0.03
"""What timings at different times differ by at least, as a share, whatever the spread within a few
minutes says: of 60 later ones of 30 winners (docs/reliability.md) 55 lay below it.
"""
MAX_ROUNDS = 3
"""How often finalists are measured."""
MAX_STEP = 0.25
"""How far below the limit the first finalists go at most, as a share, whatever a predictor's error:
further ones know from these how far off it is.
"""
UNUSED = 0.2
"""Share of a limit beside the noise: where a winner leaves more, better ones are measured."""
ROOM = 0.05
"""How far below the limit the fastest subnet is put where it is predicted above it, as a share: its
neighbours are then within the limit too.
"""

Evolve = Callable[[float, int], "Evolution"]
"""A search with predicted latencies times a level, and so many bytes of memory beside them."""


@dataclass
class FinalistTiming:
    """Timings of one search on one device."""

    context: Context
    device: str
    statistic: Statistic = "median"
    noise: float = MIN_NOISE
    since: datetime = field(default_factory=recent_cutoff)
    _asked: dict[Path, list[str]] = field(default_factory=dict)

    @property
    def first_path(self) -> Path:
        """Dataset of the first timings."""
        return self.context.files.verified_path(self.device, self.context.config.workload.name)

    @property
    def again_path(self) -> Path:
        """Dataset of the second timings, of a winner and of the next one."""
        return self.context.files.timed_again_path(self.device, self.context.config.workload.name)

    def timed(self, chosen: Sequence[Candidate], path: Path) -> list[Candidate]:
        """Return candidates with times of a dataset; those without a recent one are measured."""
        is_first = path not in self._asked
        asked = self._asked.setdefault(path, [])
        asked += [candidate.arch.key for candidate in chosen]
        request = CollectRequest(
            run_profile(self.context.files.root, self.device).timed_for(self.statistic),
            [candidate.arch for candidate in chosen],
            path,
            # what was measured in this search has to stay comparable
            renew=is_first,
            look=is_first,
            since=self.since,
        )
        dataset = collect(self.context, request).dataset
        self.noise = max(self.noise, _noise_of(dataset, asked, self.statistic))
        timed = []
        for candidate in chosen:
            measurement = dataset.measured[candidate.arch.key].measurement
            found = {
                "measured_ms": measurement.figure_ms(self.statistic),
                "measured_memory_bytes": measurement.memory_bytes,
            }
            timed.append(candidate.model_copy(update=found))
        return timed


def _noise_of(dataset: "LatencyDataset", keys: Sequence[str], statistic: Statistic) -> float:
    """Return how far apart repeats lie, as a share, in the sessions of some architectures."""
    from ..latency.calibration import noise_floor_percent

    measured = dataset.measured
    # `profile --renew` may have put away what was measured before
    names = {measured[key].session for key in keys if key in measured}
    sessions = [session for session in dataset.sessions if session.session in names]
    return (noise_floor_percent(sessions, statistic=statistic) or 0.0) / 100


def initial_search(
    context: Context, limits: Limits, predictor: "LatencyPredictor | None", evolve: Evolve
) -> "tuple[Evolution, float]":
    """Search at level 1 or, where nothing is predicted to keep the latency limit, at a lower level
    that lies within the predictor's interval.
    """
    try:
        return evolve(1.0, 0), 1.0
    except InfeasibleError as error:
        fastest_ms = error.fastest_latency_ms
        limit_ms = limits.max_latency_ms
        if predictor is None or fastest_ms is None or limit_ms is None:
            raise
        space = context.config.space
        rows = predictor.to_rows(space.genes([space.smallest]))
        least = math.exp(-predictor.half_width(rows).item())
        needed = limit_ms / fastest_ms
        # at 1 or above another limit ended it
        if not least <= needed < 1.0:
            raise
        context.progress.say(f"{error}. Some may keep it as measured: the fastest are timed")
        level = max(least, needed * (1 - ROOM))
        return evolve(level, 0), level


@dataclass
class FinalistMeasurement:
    """Finalists of one search on one device."""

    timing: FinalistTiming
    limits: Limits
    evolution: "Evolution"
    predictor: "LatencyPredictor | None"
    evolve: Evolve
    measured: list[Candidate] = field(default_factory=list)
    level: float = 1.0
    excess_bytes: int = 0
    _ratios: list[float] = field(default_factory=list)
    _drifts: list[float] = field(default_factory=list)

    @property
    def context(self) -> Context:
        """The run folder under work."""
        return self.timing.context

    def run(self) -> tuple[Candidate, list[Candidate]]:
        """Measure finalists; return the winner and all that were measured."""
        winner = None
        try:
            winner = self._measure_and_choose()
            if not self._leaves_much(winner):
                return winner, self.measured
        except InfeasibleError:
            if not self._drifts:
                raise
        # between the two timings the device has become slower, or quieter again
        drift = statistics.median(self._drifts)
        self._ratios = [ratio * drift for ratio in self._ratios]
        self._correct_predictions()
        if winner is None or self._next_finalists(attempt=1):
            winner = self._measure_and_choose()
        # with the prediction as it is corrected now
        known = {candidate.arch: candidate for candidate in self.measured}
        return known[winner.arch], self.measured

    def _measure_and_choose(self) -> Candidate:
        self._measure_finalists()
        return self._winner_timed_again()

    def _leaves_much(self, winner: Candidate) -> bool:
        most_ms = (self.limits.max_latency_ms or 0.0) / (1 + self.timing.noise)
        return (winner.measured_ms or 0.0) < (1 - UNUSED) * most_ms

    def _measure_finalists(self) -> None:
        """Measure in bounded rounds, until one keeps the limit by more than the noise and no better
        one is expected to.
        """
        for attempt in range(1, MAX_ROUNDS + 1):
            chosen = self._next_finalists(attempt)
            if not chosen:
                break
            timed = self.timing.timed(chosen, self.timing.first_path)
            self.measured += timed
            ratios = [
                self.level * c.measured_ms / c.predicted_ms
                for c in timed
                if c.measured_ms and c.predicted_ms
            ]
            # of the quietest round: in others, the device may have been busy
            rounds = [found for found in (self._ratios, ratios) if found]
            self._ratios = min(rounds, key=statistics.median, default=[])
            if attempt < MAX_ROUNDS:
                self._correct_predictions()

    def _next_finalists(self, attempt: int) -> list[Candidate]:
        """Choose finalists further and further below the limit, until one keeps it; then better
        ones that are expected to keep it.
        """
        from ..search.front import choose_winner, finalists, is_safe, quality

        count = self.context.config.search.finalists
        known = {candidate.arch.key for candidate in self.measured}
        safe = [c for c in self.measured if is_safe(c, self.limits, self.timing.noise)]
        if not safe:
            margin = attempt * min(self._predictor_error, MAX_STEP)
            return finalists(self.evolution, self.limits, count, exclude=known, margin=margin)
        best = choose_winner(safe, self.limits)
        limit_ms = self.limits.max_latency_ms or math.inf
        better = [
            c
            for c in self.evolution.ranked
            if c.arch.key not in known
            and (c.predicted_ms or 0.0) * (1 + self.timing.noise) <= limit_ms
            and quality(c) < quality(best)
        ]
        return better[:count]

    @property
    def _predictor_error(self) -> float:
        """By how much, as a share, the members of the front may take longer than predicted."""
        front = [candidate.arch for candidate in self.evolution.front]
        if self.predictor is None or not front:
            return 0.0
        rows = self.predictor.to_rows(self.context.config.space.genes(front))
        half_widths = self.predictor.half_width(rows)
        return math.expm1(statistics.median(half_widths))

    def _correct_predictions(self) -> None:
        """Search again where the device is not as predicted, by more than its noise."""
        level = self._measured_level()
        excess_bytes = self._measured_excess()
        found = []
        if level != self.level:
            share = abs(level - 1)
            found.append(f"{share:.0%} {'longer' if level > 1 else 'less'}")
        if excess_bytes != self.excess_bytes:
            found.append(f"{byte_size(excess_bytes)} more memory")
        if not found:
            return
        self.context.progress.say(
            f"the finalists took {' and '.join(found)} than predicted: searching again with that"
        )
        try:
            self.evolution = self.evolve(level, excess_bytes)
        except InfeasibleError as error:
            self.context.progress.say(f"{error}; going on with what was found before")
            return
        # earlier finalists are compared with those that are found now, on the front too
        base_losses = {c.arch: c.base_loss for c in self.evolution.ranked}
        measured = []
        for candidate in self.measured:
            ms = candidate.predicted_ms
            update = {
                "predicted_ms": ms if ms is None else ms * level / self.level,
                "base_loss": base_losses.get(candidate.arch, candidate.base_loss),
            }
            measured.append(candidate.model_copy(update=update))
        self.measured = measured
        self.level = level
        self.excess_bytes = excess_bytes

    def _measured_level(self) -> float:
        """Return by what predictions are to be multiplied; the present level within the noise."""
        if not self._ratios or self.limits.max_latency_ms is None:
            return self.level
        level = statistics.median(self._ratios)
        return self.level if abs(math.log(level / self.level)) <= self.timing.noise else level

    def _measured_excess(self) -> int:
        """Where a finalist takes more memory than the limit, return the most that any took more
        than predicted: a process takes more than weights and activations.
        """
        most = self.limits.max_memory_bytes
        pairs = [(c.measured_memory_bytes or 0, c.memory_bytes) for c in self.measured]
        if most is None or all(measured <= most for measured, _ in pairs):
            return self.excess_bytes
        return max(measured - predicted for measured, predicted in pairs)

    def _winner_timed_again(self) -> Candidate:
        """Time the winner and the next one again, until the winner is one that was: of several
        noisy times the least that keeps the limit is lucky.
        """
        again: set[str] = set()
        while True:
            winner = self._best(self.measured)
            if winner.arch.key in again:
                return winner
            chosen = [winner]
            with contextlib.suppress(InfeasibleError):
                left = [c for c in self.measured if c.arch.key not in again | {winner.arch.key}]
                chosen.append(self._best(left))
            again |= {candidate.arch.key for candidate in chosen}
            found = self.timing.timed(chosen, self.timing.again_path)
            worse = {}
            for first, second in zip(chosen, found, strict=True):
                if first.measured_ms and second.measured_ms:
                    self._drifts.append(second.measured_ms / first.measured_ms)
                worse[first.arch.key] = _worse(first, second)
            self.measured = [worse.get(c.arch.key, c) for c in self.measured]

    def _best(self, measured: Sequence[Candidate]) -> Candidate:
        from ..search.front import choose_winner

        return choose_winner(measured, self.limits, self.timing.noise, self.timing.statistic)


def _worse(first: Candidate, again: Candidate) -> Candidate:
    """Join two timings of one candidate: the longer time and the most memory; without a time, it
    cannot win.
    """
    if first.measured_ms is None or again.measured_ms is None:
        return again
    peaks = (first.measured_memory_bytes, again.measured_memory_bytes)
    most = max((peak for peak in peaks if peak is not None), default=None)
    slower = max(first, again, key=lambda candidate: candidate.measured_ms or 0.0)
    return slower.model_copy(update={"measured_memory_bytes": most})


EVAL_TOKENS = 512
"""Positions a batch: on a processor padding costs more than one more batch does."""


def search(context: Context, options: SearchOptions | None = None) -> SearchResult:
    """Find the subnet of lowest validation loss within the limits, as measured on the device."""
    options = options or SearchOptions()
    if context.config.supernet_from is not None:
        return _take(context, options)
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
        from ..search.front import with_winner

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
            seed=self.context.config.draw_seed,
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
        from ..search.constraints import SearchOracle
        from ..search.evolution import evolve
        from ..search.refine import add_layers, widen_ffn

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
        found = evolve(space, config.search, limits, oracle, progress.show, seed=config.draw_seed)
        # measured of winners that start from parts of a teacher alone
        if self.state.has_parts_of_teacher:
            found = add_layers(found, space, limits, oracle)
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
    from ..search.evolution import LossCache
    from ..training.device import DeviceContext
    from ..training.trainer import validation_loss

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


def _take(context: Context, options: SearchOptions) -> SearchResult:
    """Take what was found in the supernet that serves this task."""
    base = open_run(context.files.root / str(context.config.supernet_from))
    if options != SearchOptions():
        raise ConfigError(
            f"this task takes the search of the supernet that serves it: give the options to "
            f"`mosdeploy search` in {base.workspace.root}, then search here without"
        )
    with Catalog(context, read_data=False).search.make("mosdeploy search", again=True):
        result = _of_task(trained_run(base).search_result(), trained_run(context.run))
        write_record(context.files.search_result_path, result)
    return result


def _of_task(found: SearchResult, state: TrainedRun) -> SearchResult:
    """Return what a search found as it is true of a task; its latencies were of another head."""
    cost = cost_function(state.spec, state.family, len(state.tokenizer_bytes()))

    def taken(candidate: Candidate) -> Candidate:
        own = cost(candidate.arch)
        return Candidate(
            arch=candidate.arch,
            loss=candidate.loss,
            predicted_ms=None,
            num_parameters=own.num_parameters,
            num_body_parameters=own.num_body_parameters,
            size_bytes=own.size_bytes,
            memory_bytes=own.memory_bytes,
        )

    return found.model_copy(
        update={
            "workload": state.config.workload,
            "space_sha256": state.card.space_sha256,
            "supernet_sha256": state.card.supernet_sha256,
            "predictor_sha256": None,
            "verified": False,
            "weighs_time": state.weighs_time,
            "level": 1.0,
            "finalists": (),
            "winner": taken(found.winner),
            "front": tuple(map(taken, found.front)),
        }
    )
