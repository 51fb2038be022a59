"""Quality of inherited subnets on a real corpus: the whole walk on this machine, from text files to
measured winner.

    python benchmarks/inherited_quality.py --data ../shared/data/corpus/en-de --dir runs/debian-docs

The folder of --data holds train, valid and test with the endings .en and .de. Training takes over
an hour on one core; a killed run goes on with the same command. The last step prints the table of
docs/results.md and writes inherited_quality.json beside this script.
"""

import argparse
import json
import sys
from pathlib import Path

from provenance import command, versions

import mosdeploy
from mosdeploy.cli.progress import TerminalProgress
from mosdeploy.record import Record
from mosdeploy.records import PredictorCard, Scores, SearchResult, SupernetCard
from mosdeploy.storage import atomic_write, write_record
from mosdeploy.workspace import CONFIG_NAME

HERE = Path(__file__).parent
PACKAGES = ("torch", "onnxruntime", "numpy", "sentencepiece", "sacrebleu")


class Outcome(Record):
    """What inherited_quality.json holds."""

    command: str
    seed: int
    versions: dict[str, str]
    corpus: str
    supernet: SupernetCard
    predictor: PredictorCard
    search: SearchResult
    scores: dict[str, Scores]


def main() -> None:
    """Walk, print the table, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the parallel corpus")
    parser.add_argument(
        "--dir", type=Path, required=True, help="run folder; made if it does not exist"
    )
    parser.add_argument(
        "--max-latency",
        default=None,
        help="limit of the search, like 8ms; default: midway between the measured",
    )
    parser.add_argument("--out", type=Path, default=HERE / "inherited_quality.json")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    options = parser.parse_args()
    if not (options.dir / CONFIG_NAME).exists():
        text = (
            (HERE / "debian_docs.toml").read_text().replace("CORPUS", str(options.data.resolve()))
        )
        atomic_write(options.dir / CONFIG_NAME, text)
    outcome = walk(options.dir, options.max_latency)
    write_record(options.out, outcome)
    print(outcome.model_dump_json() if options.json else table(outcome))


def walk(root: Path, max_latency: str | None) -> Outcome:
    """Train, profile, search, evaluate: what was done before is not done again."""
    progress = TerminalProgress()
    run = mosdeploy.open_run(root, progress=progress)
    supernet = run.train()
    profile = run.profile()
    if profile.card is None:
        sys.exit("too few subnets could be measured; see the messages above")
    search = run.search(max_latency=max_latency or f"{midway_ms(Path(profile.path)):g}ms")
    scores = run.evaluate(("largest", "smallest", "winner"))
    progress.close()
    return Outcome(
        command=command(),
        seed=run.config.training.seed,
        versions=versions(PACKAGES),
        corpus="Debian docs En-De",
        supernet=supernet,
        predictor=profile.card,
        search=search,
        scores=scores.subnets,
    )


def midway_ms(path: Path) -> float:
    """Two digits of the middle between the fastest and the slowest subnet that was measured."""
    records = [json.loads(line)["measurement"] for line in path.read_text().splitlines()[1:]]
    times = [measurement["total"]["median_ms"] for measurement in records if measurement["total"]]
    return float(f"{(min(times) + max(times)) / 2:.2g}")


def table(outcome: Outcome) -> str:
    """Markdown."""
    minutes = outcome.supernet.train_seconds / 60
    lines = [
        f"{outcome.corpus}, {outcome.supernet.steps} steps in {minutes:.0f} minutes",
        "",
        "| subnet | parameters | BLEU | chrF | validation loss | predicted ms | measured ms |",
        "|---|---|---|---|---|---|---|",
    ]
    winner = outcome.search.winner
    for name, scores in outcome.scores.items():
        times = (
            f"{winner.predicted_ms:.2f} | {winner.measured_ms:.2f}" if name == "winner" else "- | -"
        )
        metrics = " | ".join(f"{value:.1f}" for value in scores.metrics.values())
        lines.append(
            f"| {name} | {scores.num_parameters:,} | {metrics} | {scores.loss:.3f} | {times} |"
        )
    predictor = outcome.predictor
    return "\n".join(
        [
            *lines,
            "",
            f"limit {outcome.search.limits.max_latency_ms:g} ms; "
            f"{outcome.search.num_evaluated} subnets evaluated; predictor error "
            f"{predictor.mape_percent:.2f}% (cross-validated, {predictor.num_samples} subnets)",
        ]
    )


if __name__ == "__main__":
    main()
