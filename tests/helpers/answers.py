"""Records as the verbs give them, with numbers that are easy to find again in what is printed."""

from typing import Any

from example_spaces import SMALL

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import (
    BundleManifest,
    Candidate,
    Deployment,
    DeviceState,
    Limits,
    Measurement,
    ParityReport,
    PredictorCard,
    Scores,
    ScoreTable,
    SearchResult,
    SubnetCard,
    Timing,
)
from mosdeploy.spaces.translation import TranslationWorkload

ARCH = SMALL.smallest


def digest(letter: str) -> str:
    return letter * 64


def timed(
    median_ms: float, tail_ms: float | None = None, memory_bytes: int | None = None
) -> Measurement:
    """A measurement of so many milliseconds, whose tail may be longer."""
    tail_ms = tail_ms or median_ms
    total = Timing(
        median_ms=median_ms, p90_ms=tail_ms, p99_ms=tail_ms, minimum_ms=median_ms, repeats=10
    )
    return Measurement(total=total, memory_bytes=memory_bytes)


def predictor_card(**changes: Any) -> PredictorCard:
    card = PredictorCard(
        device="rpi",
        workload="sentence",
        space_sha256=digest("a"),
        dataset_sha256=digest("9"),
        num_samples=30,
        num_rejected=1,
        uses_mlp=False,
        mape_percent=1.234,
        within_5_percent=97.6,
        within_10_percent=100.0,
        kendall_tau=0.9876,
    )
    return card.model_copy(update=changes)


CARD_LINE = "30 subnets, error 1.23%, 98% within 5%, Kendall tau 0.988"


def candidate(**changes: Any) -> Candidate:
    known = Candidate(
        arch=ARCH,
        loss=2.34567,
        predicted_ms=120.0,
        num_parameters=1_234_567,
        num_body_parameters=1_234_567,
        size_bytes=5_000_000,
        memory_bytes=5_000_000,
        measured_ms=121.5,
    )
    return known.model_copy(update=changes)


def search_result(**changes: Any) -> SearchResult:
    result = SearchResult(
        device="rpi",
        workload=TranslationWorkload(),
        limits=Limits(max_latency_ms=150.0),
        space_sha256=digest("a"),
        supernet_sha256=digest("b"),
        predictor_sha256=digest("c"),
        winner=candidate(),
        verified=True,
        finalists=(candidate(),),
        front=(candidate(),),
        num_evaluated=1500,
        seed=1,
    )
    return result.model_copy(update=changes)


def score_table(**subnets: float) -> ScoreTable:
    """Subnets by name, each with a first metric; the second is twice as much."""
    return ScoreTable(
        supernet_sha256="supernet",
        data_sha256="data",
        subnets={
            name: Scores(
                arch=ARCH,
                num_parameters=1_234_567,
                metrics={"BLEU": metric, "chrF": 2 * metric},
                loss=2.34567,
                num_examples=10,
                weights="finetuned" if name.endswith(", finetuned") else "inherited",
            )
            for name, metric in subnets.items()
        },
    )


def subnet_card(**changes: Any) -> SubnetCard:
    card = SubnetCard(
        inputs={"supernet": "sha256:supernet"},
        arch=ARCH,
        weights="finetuned",
        subnet_sha256="subnet",
        steps=500,
        start_loss=2.34567,
        loss=2.1236,
        train_seconds=9.0,
    )
    return card.model_copy(update=changes)


def manifest(**changes: Any) -> BundleManifest:
    made = BundleManifest(
        name="en-de-small",
        precision="int8",
        settings={},
        vocab_size=1000,
        arch=ARCH,
        num_parameters=1_234_567,
        workload=TranslationWorkload(),
        device="rpi",
        provenance={},
        parity=ParityReport(
            metric="BLEU", num_examples=64, identical=63, torch_score=30.12, bundle_score=30.04
        ),
        self_test=(),
        sha256={},
    )
    return made.model_copy(update=changes)


def deployment(**changes: Any) -> Deployment:
    done = Deployment(
        device=DeviceProfile(name="rpi", host="rpi"),
        state=DeviceState(),
        bundle="en-de-small",
        bundle_sha256="bundle",
        remote_dir="/home/pi/mosdeploy",
        self_test_passed=True,
        measurement=timed(121.5, tail_ms=122.5),
        limit_ms=150.0,
        deployed_at="2024-01-01T00:00:00+00:00",
    )
    return done.model_copy(update=changes)
