"""Latency limits for by_hand.py, and the architectures that a person would pick within each."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from walk_cells import measured_ms, write_run_file

import mosdeploy
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace

NUM_PICKS = 4
PLACES = (0.15, 0.3, 0.45, 0.6, 0.8)
"""Where the limits lie between the predicted latencies of the smallest and the largest subnet."""


class Limits(Record):
    """Latency limits in ms, and the hand-picked architectures that keep each, with their measured
    latencies.
    """

    limits_ms: tuple[float, ...]
    by_hand: tuple[tuple[TranslationArch, ...], ...]
    measured_ms: dict[str, float]


def run_options(
    options: argparse.Namespace, seed: int, supernet_steps: int
) -> dict[str, dict[str, Any]]:
    """What a run file says otherwise than the recipe `tiny`."""
    changes: dict[str, dict[str, Any]] = {
        "training": {
            "steps": supernet_steps,
            "warmup_steps": max(1, supernet_steps // 6),
            # one random architecture a step, and no decay before the winner's own training
            "schedule": "constant",
            "sandwich": "none",
            "seed": seed,
            "threads": options.threads,
        },
        # from part of the inherited weights, with the warm-up of a training from scratch
        "finetune": {
            "steps": options.finetune_steps,
            "inherited_share": options.inherited_share,
            "same_time": True,
        },
        "supernet": {"dropout": options.dropout},
    }
    if options.data:
        source_lang, target_lang = options.data.name.split("-")
        folder = options.data.absolute()
        changes["corpus"] = {
            "format": "text",
            "source_lang": source_lang,
            "target_lang": target_lang,
            "vocab_size": 4000,
            **{split: str(folder / split) for split in ("train", "valid", "test")},
        }
        changes["training"]["tokens_per_batch"] = 1024
    return changes


def choose_limits(options: argparse.Namespace) -> Limits:
    """Profile this machine, set the limits, pick architectures by hand, and measure these."""
    folder = options.dir / "profile"
    write_run_file(folder, read_recipe("tiny"), run_options(options, 1, options.supernet_steps))
    run = mosdeploy.open_run(folder)
    run.profile(device="local")
    predictor = run.predictor("local")
    space = run.config.space
    assert isinstance(space, TranslationSpace)
    spec = run.config.spec
    ends_ms = predictor.predict(space.genes([space.smallest, space.largest]))
    limits_ms = [float(ends_ms[0] + place * (ends_ms[1] - ends_ms[0])) for place in PLACES]
    archs = [arch for arch in space.starters() if isinstance(arch, TranslationArch)]
    predicted_ms = predictor.predict(space.genes(archs))
    chosen = []
    for limit_ms in limits_ms:
        feasible = [a for a, ms in zip(archs, predicted_ms, strict=True) if ms <= limit_ms]
        chosen.append(picks(feasible, spec.num_parameters))
    archs = [arch for by_hand in chosen for arch in by_hand]
    times_ms = measured_ms(folder, archs, folder / "by-hand.jsonl")
    kept_limits = [
        tuple(arch for arch in by_hand if times_ms[arch.key] <= limit_ms) or tuple(by_hand[-1:])
        for by_hand, limit_ms in zip(chosen, limits_ms, strict=True)
    ]
    return Limits(
        limits_ms=tuple(limits_ms),
        by_hand=tuple(kept_limits),
        measured_ms=times_ms,
    )


def picks(
    feasible: Sequence[TranslationArch],
    num_parameters: Callable[[TranslationArch], int],
    count: int = NUM_PICKS,
) -> list[TranslationArch]:
    """At most `count` of the architectures that keep a limit.

    The one with the most parameters; the same of those with as many encoder as decoder layers; a
    deep encoder over a shallow decoder (Kasai et al., ICLR 2021); the deepest. Where rules agree,
    those with the next most parameters fill up.
    """

    def depths(arch: TranslationArch) -> tuple[int, int]:
        return len(arch.encoder_layers), len(arch.decoder_layers)

    by_size = sorted(feasible, key=num_parameters, reverse=True)
    balanced = [arch for arch in by_size if depths(arch)[0] == depths(arch)[1]]
    # sorted is stable: of one depth, the largest comes first
    shallow = sorted(by_size, key=lambda arch: (depths(arch)[1], -depths(arch)[0]))
    deep = sorted(by_size, key=lambda arch: -sum(depths(arch)))
    firsts = [archs[0] for archs in (by_size, balanced, shallow, deep) if archs]
    return list(dict.fromkeys([*firsts, *by_size]))[:count]
