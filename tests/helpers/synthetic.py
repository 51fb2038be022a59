"""A run that never happened, as records, for the tests of the report."""

from typing import Any

import answers
import numpy as np
from answers import digest, timed
from example_spaces import space_of
from markupsafe import Markup

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import (
    BundleManifest,
    Candidate,
    Deployment,
    DeviceState,
    LatencyContext,
    LatencyRecord,
    Limits,
    Measurement,
    ParityReport,
    PredictorCard,
    Scores,
    ScoreTable,
    SearchResult,
    SelfTest,
    SupernetCard,
    Timing,
)
from mosdeploy.report import FamilyPage, ReportInputs
from mosdeploy.run_folder.candidates import DevicePrices, candidates, choices
from mosdeploy.spaces import ArchConfig, ModelSpec
from mosdeploy.spaces.translation import TranslationWorkload

SPACE = space_of(
    embed_dim=(128, 192),
    layers=(1, 2, 3),
    ffn_dim=(128, 256, 512),
    heads=(2, 4),
    qkv_dim=192,
    cross_span=(1, 2),
    norm="pre",
)
VOCAB = 1500
WORKLOAD = TranslationWorkload(source_len=20, decode_steps=20)
SPEC = ModelSpec(SPACE, VOCAB, WORKLOAD)
DEVICE = DeviceProfile(name="rpi", description="Raspberry Pi 4, 64-bit.")
LIMIT_MS = 12.0


def latency_ms(arch: ArchConfig) -> float:
    """A made-up law: 1 ms and 5 ms for each million multiply-accumulates."""
    return 1.0 + 5e-6 * SPEC.num_macs(arch) / 20


def loss(arch: ArchConfig) -> float:
    return 2.2 + 1.6e6 / SPEC.num_parameters(arch)


def timing(median_ms: float) -> Timing:
    total = timed(median_ms, tail_ms=median_ms * 1.06).total
    assert total is not None
    return total.model_copy(update={"minimum_ms": median_ms * 0.97, "repeats": 15})


def candidate(arch: ArchConfig, measured_ms: float | None = None) -> Candidate:
    parameters = SPEC.num_parameters(arch)
    return answers.candidate(
        arch=arch,
        loss=loss(arch),
        predicted_ms=latency_ms(arch),
        num_parameters=parameters,
        num_body_parameters=parameters,
        size_bytes=4 * parameters,
        memory_bytes=5 * parameters,
        measured_ms=measured_ms,
    )


def archs(count: int, seed: int) -> list[ArchConfig]:
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(count)]


def search_result(*, verified: bool = True, limit_ms: float | None = LIMIT_MS) -> SearchResult:
    front: list[Candidate] = []
    for arch in sorted(archs(80, seed=1), key=latency_ms):
        if not front or loss(arch) < front[-1].loss:
            front.append(candidate(arch))
    allowed = [x for x in front if limit_ms is None or latency_ms(x.arch) < limit_ms]
    finalists = [
        x.model_copy(update={"measured_ms": latency_ms(x.arch) * 1.03}) for x in allowed[-4:]
    ]
    winner = max(
        (x for x in finalists if limit_ms is None or (x.measured_ms or 0) < limit_ms),
        key=lambda x: -x.loss,
    )
    return answers.search_result(
        workload=WORKLOAD,
        limits=Limits(max_latency_ms=limit_ms),
        winner=winner if verified else winner.model_copy(update={"measured_ms": None}),
        verified=verified,
        finalists=tuple(finalists) if verified else (),
        front=tuple(front),
        num_evaluated=1234,
    )


def manifest(arch: ArchConfig) -> BundleManifest:
    return answers.manifest(
        name="winner-fp32",
        precision="fp32",
        settings={
            "beam": 1,
            "length_penalty": 0.6,
            "source_lang": "en",
            "target_lang": "fr",
            "max_source_len": 128,
            "max_decode_steps": 192,
        },
        vocab_size=VOCAB,
        arch=arch,
        num_parameters=SPEC.num_parameters(arch),
        workload=WORKLOAD,
        provenance={"supernet": digest("b"), "tokenizer": digest("d")},
        parity=ParityReport(
            metric="BLEU", num_examples=64, identical=64, torch_score=24.1, bundle_score=24.1
        ),
        self_test=(
            SelfTest(
                input="Save file",
                input_ids=(5, 6, 3),
                answer=(7, 8),
                output="Enregistrer le fichier",
            ),
            SelfTest(input="<b>Close & quit</b>", input_ids=(5, 3), answer=(9,), output="Fermer"),
        ),
        sha256={"model.onnx": digest("e"), "tokenizer.model": digest("d")},
    )


def deployment(median_ms: float, device: DeviceProfile = DEVICE) -> Deployment:
    state = DeviceState(
        machine="aarch64",
        cpu_model="Cortex-A72",
        cores=4,
        memory_bytes=4 * 2**30,
        memory_available_bytes=3 * 2**30,
        governor="performance",
        frequency_mhz=1800.0,
        temperature_c=51.0,
        load_1min=0.08,
        python_version="3.11.2",
        packages={"numpy": "2.2.1", "onnxruntime": "1.22.0"},
        providers=("AzureExecutionProvider", "CPUExecutionProvider"),
    )
    return answers.deployment(
        device=device,
        state=state,
        bundle="winner-fp32",
        bundle_sha256=digest("f"),
        remote_dir="~/.cache/mosdeploy/bundles/winner-fp32",
        measurement=Measurement(
            total=timing(median_ms), load_ms=84.0, peak_memory_bytes=91 * 2**20
        ),
        limit_ms=LIMIT_MS,
        deployed_at="2025-03-01T12:30:00Z",
    )


def card() -> PredictorCard:
    return answers.predictor_card(
        uses_mlp=True, mape_percent=2.31, within_5_percent=93.3, kendall_tau=0.941
    )


def supernet() -> SupernetCard:
    return SupernetCard(
        inputs={"data": "sha256:8"},
        space_sha256=digest("a"),
        data_sha256=digest("7"),
        tokenizer_sha256=digest("d"),
        supernet_sha256=digest("b"),
        steps=700,
        vocab_size=VOCAB,
        routing="neuron",
        num_experts=2,
        largest_loss=2.71,
        smallest_loss=3.32,
        train_seconds=312.0,
    )


def scores(winner: ArchConfig) -> ScoreTable:
    def one(arch: ArchConfig, bleu: float) -> Scores:
        parameters = SPEC.num_parameters(arch)
        return Scores(
            arch=arch,
            num_parameters=parameters,
            metrics={"BLEU": bleu, "chrF": bleu + 22.5},
            loss=loss(arch),
            num_examples=180,
            setup="greedy",
        )

    subnets = {
        "largest": one(SPACE.largest, 25.2),
        "smallest": one(SPACE.smallest, 17.4),
        "winner": one(winner, 24.1),
    }
    return ScoreTable(
        supernet_sha256=digest("b"),
        data_sha256=digest("7"),
        workload=WORKLOAD,
        subnets=subnets,
    )


def elsewhere(search: SearchResult) -> DevicePrices:
    """A device that is seven times as fast."""
    predicted_ms = {x.arch.key: latency_ms(x.arch) / 7 for x in candidates(search)}
    return DevicePrices("xeon", predicted_ms, 24.85)


def inputs_of(search: SearchResult, **more: Any) -> ReportInputs:
    """A search with what else there is, which may be nothing."""
    return ReportInputs(search=search, choices=choices(search), **more)


def full_inputs(device: DeviceProfile = DEVICE, bundle_ms: float = 11.4) -> ReportInputs:
    """Everything that a finished run has."""
    search = search_result()
    noise = np.random.default_rng(3).normal(1.0, 0.025, 30)
    records = tuple(
        LatencyRecord(
            arch=arch,
            measurement=Measurement(total=timing(latency_ms(arch) * float(factor))),
            runtime="onnxruntime 1.22.0",
            measured_at="2025-03-01T12:00:00Z",
            session="s1",
        )
        for arch, factor in zip(archs(30, seed=2), noise, strict=True)
    )
    table = scores(search.winner.arch)
    return ReportInputs(
        search=search,
        choices=choices(search, table, (elsewhere(search),), error_percent=card().mape_percent),
        context=LatencyContext(
            dataset_id="d1",
            device=device,
            workload=WORKLOAD,
            space_sha256=digest("a"),
            vocab_size=VOCAB,
            graph_sha256=digest("f"),
        ),
        records=records,
        predicted_ms=tuple(latency_ms(x.arch) for x in records),
        card=card(),
        manifest=manifest(search.winner.arch),
        manifest_sha256=digest("f"),
        bundle_size_bytes=9_400_000,
        deployments=(deployment(bundle_ms, device),),
        scores=table,
        supernet=supernet(),
    )


def family_page() -> FamilyPage:
    """What a family would say, made up: a box for a drawing, two layers."""
    return FamilyPage(
        workload="20 tokens, threads 1, fp32",
        task="runs once",
        metric_title="Quality of the task",
        draw=lambda arch: Markup(
            '<figure><svg role="img" aria-label="Two layers in a box."></svg></figure>'
        ),
        drawing_note="One box.",
        layer_header=("layer", "FFN width"),
        layer_rows=lambda arch: (("layer 1", 256), ("layer 2", 512)),
        bundle_facts=(("Longest input", "128 tokens"),),
        example_header=("input", "output"),
    )
