"""What a search costs with the quality predictor, with racing, and when each candidate is evaluated
in full.

    python benchmarks/search_cost.py --run FOLDER [--ways predict,race,each] [--as-configured]
    [--json]

FOLDER is a run folder with a trained supernet (`mosdeploy train`); nothing in it is changed but the
folder search_cost. The search is HAT's: 30 iterations over a population of 125, 25 parents, 50
mutants, 50 crosses; --as-configured takes the run's [search] instead. The limit is on parameters,
midway between smallest and largest, so that no device is needed. Times are processor seconds of one
thread: a busy machine stretches the wall clock more. A killed run goes on with the same command:
losses and their times are kept as they come. The result is printed, and written to search_cost.json
beside this script.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from provenance import command, versions
from scipy.stats import kendalltau

from mosdeploy.config.sections import SearchConfig
from mosdeploy.evaluation.cache import BlockLosses, EvaluationCache, Losses
from mosdeploy.evaluation.predictor import QualityPredictor
from mosdeploy.evaluation.proxy import ProxyEvaluator
from mosdeploy.record import Record
from mosdeploy.records import Candidate, Limits, QualityCard
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import VALID_SEED, TrainedRun, trained_run
from mosdeploy.search import Cost, SearchOracle, SearchProgress, evolve, evolve_predicted
from mosdeploy.search.oracle import FloatArray
from mosdeploy.search.surrogate import PredictLoss
from mosdeploy.spaces.genes import ArchConfig, GeneArray
from mosdeploy.storage import append_line, fingerprint, read_lines, write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "scikit-learn")
WAYS = ("predict", "race", "each")
NUM_HELD_OUT = 100
HELD_OUT_SEED = 11


class Way(Record):
    """One search: what it did, what it took, and the winner's loss on the search's examples and
    on all validation examples.

    `cpu_seconds` is the sum of `evaluation_seconds` and what the search itself and the predictor
    took.
    """

    num_evaluated: int
    num_early_stopped: int
    num_predicted: int
    share_evaluated: float
    evaluation_seconds: float
    cpu_seconds: float
    winner: Candidate
    winner_loss_all_examples: float
    quality: QualityCard | None


class Outcome(Record):
    """What search_cost.json holds; `held_out_tau` is the predictor's on random subnets that no
    search had asked for.
    """

    command: str
    versions: dict[str, str]
    config: SearchConfig
    limits: Limits
    num_architectures: int
    largest_loss: float
    smallest_loss: float
    held_out_tau: float | None
    ways: dict[str, Way]


class Meter:
    """Losses of inherited subnets with the processor time of each, kept in a folder."""

    def __init__(self, state: TrainedRun, evaluator: ProxyEvaluator, folder: Path) -> None:
        self.state = state
        self.evaluator = evaluator
        self.times_path = folder / "seconds.jsonl"
        inputs_sha256 = fingerprint(
            state.card.supernet_sha256,
            state.config.search.eval_examples,
            VALID_SEED,
            evaluator.rule,
        )
        self.cache = EvaluationCache(folder / "quality.jsonl", inputs_sha256)

    def losses(self, race: bool) -> Losses:
        """With racing, or each evaluated in full."""

        def measure(
            archs: Sequence[ArchConfig], incumbents: Sequence[BlockLosses | None]
        ) -> Iterator[BlockLosses]:
            for arch, incumbent in zip(archs, incumbents, strict=True):
                start = time.process_time()
                subnet = self.state.subnet(arch)
                found = self.evaluator.evaluate(subnet, incumbent if race else None)
                seconds = time.process_time() - start
                append_line(self.times_path, {"seconds": seconds, "blocks": len(found.nats)})
                yield found

        return self.cache.wrap(measure)

    def totals(self) -> tuple[float, float]:
        """Seconds of all evaluations so far, and the share of the blocks that they took."""
        lines = [json.loads(line) for line in read_lines(self.times_path)[0]]
        blocks = sum(line["blocks"] for line in lines)
        possible = len(lines) * self.evaluator.num_blocks
        return sum(line["seconds"] for line in lines), blocks / possible if possible else 0.0


@dataclass(frozen=True)
class Comparison:
    """One search in several ways; what it found is kept in the run folder."""

    state: TrainedRun
    config: SearchConfig
    limits: Limits
    evaluator: ProxyEvaluator

    @property
    def folder(self) -> Path:
        """Where losses are kept."""
        return self.state.files.root / "search_cost"

    def search(self, way: str, fitted: list[QualityPredictor]) -> Way:
        """Search in one way, from where it was killed; predictors are appended to `fitted`."""
        space = self.state.config.space
        folder = self.folder / fingerprint(self.config)[:8] / way
        meter = Meter(self.state, self.evaluator, folder)
        before_s = meter.totals()[0]

        def fit(genes: GeneArray, losses: FloatArray) -> PredictLoss:
            fitted.append(QualityPredictor.fit(space, genes, losses))
            return fitted[-1].predict

        def show(progress: SearchProgress) -> None:
            print(f"{way}: {progress.iteration} {progress.num_evaluated}", file=sys.stderr)

        oracle = SearchOracle(
            losses=meter.losses(race=way == "race"),
            cost=lambda arch: Cost(self.state.spec.num_parameters(arch), 0, 0, 0),
        )
        start = time.process_time()
        if way == "predict":
            found = evolve_predicted(space, self.config, self.limits, oracle, fit, show)
        else:
            found = evolve(space, self.config, self.limits, oracle, show)
        spent_s = time.process_time() - start
        seconds, share = meter.totals()
        valid = self.state.validation_set(len(self.state.data.valid))
        winner = found.ranked[0]
        return Way(
            num_evaluated=found.num_evaluated,
            num_early_stopped=meter.cache.num_early_stopped,
            num_predicted=found.num_predicted,
            share_evaluated=share,
            evaluation_seconds=seconds,
            cpu_seconds=spent_s + before_s,
            winner=winner,
            winner_loss_all_examples=self.loss(winner.arch, ProxyEvaluator(valid)),
            quality=fitted[-1].card if way == "predict" else None,
        )

    def loss(self, arch: ArchConfig, evaluator: ProxyEvaluator | None = None) -> float:
        """Loss of an inherited subnet, on the search's examples or others."""
        found = (evaluator or self.evaluator).evaluate(self.state.subnet(arch))
        return float("nan") if found.loss is None else found.loss

    def held_out_tau(self, predictor: QualityPredictor) -> float:
        """Kendall tau of a predictor on random subnets."""
        space = self.state.config.space
        rng = np.random.default_rng(HELD_OUT_SEED)
        archs = list(dict.fromkeys(space.sample(rng) for _ in range(NUM_HELD_OUT)))
        meter = Meter(self.state, self.evaluator, self.folder / "held-out")
        truth = list(meter.losses(race=False)(archs, [None] * len(archs)))
        return float(kendalltau(predictor.predict(space.genes(archs)), truth).statistic)


def main() -> None:
    """Search in each way, print the table, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, required=True, help="run folder with a trained supernet"
    )
    parser.add_argument("--ways", default=",".join(WAYS), help="which to run; default: all")
    parser.add_argument(
        "--as-configured", action="store_true", help="the run's [search] instead of HAT's 30 x 125"
    )
    parser.add_argument(
        "--out", type=Path, help="where the result goes; default: beside this script"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = trained_run(open_run(options.run))
    config = state.config.search
    if not options.as_configured:
        config = SearchConfig(eval_examples=config.eval_examples, seed=config.seed)
    space = state.config.space
    ends = [state.spec.num_parameters(arch) for arch in (space.smallest, space.largest)]
    evaluator = ProxyEvaluator(state.validation_set(config.eval_examples))
    comparison = Comparison(state, config, Limits(max_parameters=sum(ends) // 2), evaluator)
    for _ in range(3):  # torch sets up much in the first passes
        comparison.loss(space.largest)
    fitted: list[QualityPredictor] = []
    ways = {way: comparison.search(way, fitted) for way in options.ways.split(",")}
    outcome = Outcome(
        command=command(),
        versions=versions(PACKAGES),
        config=config,
        limits=comparison.limits,
        num_architectures=space.num_architectures,
        largest_loss=comparison.loss(space.largest),
        smallest_loss=comparison.loss(space.smallest),
        held_out_tau=comparison.held_out_tau(fitted[-1]) if fitted else None,
        ways=ways,
    )
    if options.out or not options.as_configured:
        write_record(options.out or HERE / "search_cost.json", outcome)
    print(outcome.model_dump_json() if options.json else table(outcome))


def table(outcome: Outcome) -> str:
    """Markdown."""
    lines = [
        "| way | evaluated | stopped early | predicted | of all examples | CPU s | winner's loss "
        "| on all examples |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, way in outcome.ways.items():
        cells = [
            name,
            f"{way.num_evaluated:,}",
            f"{way.num_early_stopped:,}",
            f"{way.num_predicted:,}",
            f"{way.share_evaluated:.0%}",
            f"{way.cpu_seconds:.0f}",
            f"{way.winner.loss:.4f}",
            f"{way.winner_loss_all_examples:.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"at most {outcome.limits.max_parameters:,} parameters; loss of the largest "
        f"{outcome.largest_loss:.4f}, of the smallest {outcome.smallest_loss:.4f}",
    ]
    if outcome.held_out_tau is not None:
        lines.append(
            f"Kendall tau of the predictor on {NUM_HELD_OUT} held-out subnets: "
            f"{outcome.held_out_tau:.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
