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
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from mosdeploy import pipeline
from mosdeploy.config.sections import SearchConfig
from mosdeploy.evaluation.cache import BlockLosses, EvaluationCache, Losses
from mosdeploy.evaluation.predictor import QualityPredictor
from mosdeploy.evaluation.proxy import ProxyEvaluator
from mosdeploy.pipeline.train import VALID_SEED, TrainedRun, trained
from mosdeploy.record import Record
from mosdeploy.records import Candidate, Limits, QualityCard
from mosdeploy.search import Cost, evolve, evolve_predicted
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.storage import append_line, fingerprint, read_lines, write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "scikit-learn")
WAYS = ("predict", "race", "each")
HELD_OUT, HELD_OUT_SEED = 100, 11


class Way(Record):
    """One search: what it did, what it took, and the winner's loss on the search's pairs and on all
    validation pairs.

    `cpu_seconds` is the sum of `evaluation_seconds` and what the search itself and the predictor
    took.
    """

    num_evaluated: int
    num_early_stopped: int
    num_predicted: int
    share_read: float
    evaluation_seconds: float
    cpu_seconds: float
    winner: Candidate
    winner_loss_all_pairs: float
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
        self.state, self.evaluator, self.times_path = state, evaluator, folder / "seconds.jsonl"
        num_pairs = state.run.config.search.eval_examples
        inputs_sha256 = fingerprint(
            state.card.supernet_sha256, num_pairs, VALID_SEED, evaluator.rule
        )
        self.cache = EvaluationCache(folder / "quality.jsonl", inputs_sha256)

    def losses(self, race: bool) -> Losses:
        """With racing, or each read in full."""

        def measure(
            archs: Sequence[TranslationArch], incumbents: Sequence[BlockLosses | None]
        ) -> Iterator[BlockLosses]:
            for arch, incumbent in zip(archs, incumbents, strict=True):
                start = time.process_time()
                read = self.evaluator.read(self.state.subnet(arch), incumbent if race else None)
                append_line(
                    self.times_path,
                    {"seconds": time.process_time() - start, "blocks": len(read.nats)},
                )
                yield read

        return self.cache.wrap(measure)

    def totals(self) -> tuple[float, float]:
        """Seconds of all evaluations, and the share of the blocks that they read."""
        lines = [json.loads(line) for line in read_lines(self.times_path)[0]]
        blocks = sum(line["blocks"] for line in lines)
        return sum(line["seconds"] for line in lines), blocks / (
            len(lines) * self.evaluator.num_blocks
        )


def search(
    way: str, state: TrainedRun, config: SearchConfig, limits: Limits, evaluator: ProxyEvaluator
) -> Way:
    """One way to search, from where it was killed."""
    space, folder = (
        state.run.config.space,
        state.run.workspace.root / "search_cost" / fingerprint(config)[:8] / way,
    )
    meter, fitted = Meter(state, evaluator, folder), list[QualityPredictor]()
    before = meter.totals()[0] if meter.times_path.exists() else 0.0

    def fit(genes: Any, losses: Any) -> Any:
        fitted.append(QualityPredictor.fit(space, genes, losses, meter.cache.inputs_sha256))
        return fitted[-1].predict

    options: dict[str, Any] = {
        "losses": meter.losses(race=way == "race"),
        "cost": lambda arch: Cost(num_parameters(space, arch, state.card.vocab_size), 0),
        "progress": lambda p: print(
            f"{way}: {p.iteration}/{p.iterations} {p.num_evaluated}", file=sys.stderr
        ),
    }
    start = time.process_time()
    if way == "predict":
        found = evolve_predicted(space, config, limits, fit=fit, **options)
        fitted[-1].save(folder / "quality_predictor.json")
    else:
        found = evolve(space, config, limits, **options)
    spent = time.process_time() - start
    seconds, share = meter.totals()
    full = ProxyEvaluator(state.valid_pairs(len(state.corpus.valid)))
    return Way(
        num_evaluated=found.num_evaluated,
        num_early_stopped=meter.cache.num_early_stopped,
        num_predicted=found.num_predicted,
        share_read=share,
        evaluation_seconds=seconds,
        cpu_seconds=spent + before,
        winner=found.ranked[0],
        winner_loss_all_pairs=full.read(state.subnet(found.ranked[0].arch)).loss or float("nan"),
        quality=fitted[-1].card if fitted else None,
    )


def held_out_tau(state: TrainedRun, config: SearchConfig, evaluator: ProxyEvaluator) -> float:
    """Kendall tau of the saved predictor on random subnets."""
    space, folder = state.run.config.space, state.run.workspace.root / "search_cost"
    predictor = QualityPredictor.load(
        folder / fingerprint(config)[:8] / "predict" / "quality_predictor.json"
    )
    rng = np.random.default_rng(HELD_OUT_SEED)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(HELD_OUT)))
    losses = Meter(state, evaluator, folder / "held-out").losses(race=False)
    truth = list(losses(archs, [None] * len(archs)))
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
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = trained(pipeline.open_run(options.run))
    space, vocab_size, config = (
        state.run.config.space,
        state.card.vocab_size,
        state.run.config.search,
    )
    if not options.as_configured:
        config = SearchConfig(eval_examples=config.eval_examples, seed=config.seed)
    ends = [num_parameters(space, arch, vocab_size) for arch in (space.smallest, space.largest)]
    limits = Limits(max_parameters=sum(ends) // 2)
    evaluator = ProxyEvaluator(state.valid_pairs(config.eval_examples))
    for _ in range(3):  # the first passes pay for what torch sets up
        evaluator.read(state.subnet(space.largest))
    ways = {way: search(way, state, config, limits, evaluator) for way in options.ways.split(",")}
    outcome = Outcome(
        command=f"python benchmarks/search_cost.py --run FOLDER --ways {options.ways}",
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        config=config,
        limits=limits,
        num_architectures=space.num_architectures,
        largest_loss=evaluator.read(state.subnet(space.largest)).loss or float("nan"),
        smallest_loss=evaluator.read(state.subnet(space.smallest)).loss or float("nan"),
        held_out_tau=held_out_tau(state, config, evaluator) if "predict" in ways else None,
        ways=ways,
    )
    if not options.as_configured:
        write_record(HERE / "search_cost.json", outcome)
    print(outcome.model_dump_json() if options.json else table(outcome))


def table(outcome: Outcome) -> str:
    """Markdown."""
    lines = [
        "| way | evaluated | given up early | predicted | read of all | CPU s | winner's loss | on all pairs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, way in outcome.ways.items():
        counts = f"{way.num_evaluated:,} | {way.num_early_stopped:,} | {way.num_predicted:,} | {100 * way.share_read:.0f}%"
        quality = f"{way.winner.loss:.4f} | {way.winner_loss_all_pairs:.4f}"
        lines.append(f"| {name} | {counts} | {way.cpu_seconds:.0f} | {quality} |")
    limit = f"at most {outcome.limits.max_parameters:,} parameters"
    lines += [
        "",
        f"{limit}; loss of the largest {outcome.largest_loss:.4f}, of the smallest {outcome.smallest_loss:.4f}",
    ]
    if outcome.held_out_tau is not None:
        lines.append(
            f"Kendall tau of the predictor on {HELD_OUT} held-out subnets: {outcome.held_out_tau:.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
