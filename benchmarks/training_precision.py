"""What bf16 brings a training on a CPU, and what it costs.

Two questions. How long the gradient of a supernet's step takes in full precision and in bf16, each
with PyTorch's fused attention and with the unfused one, by turns: medians of the rounds, processor
time of one thread, for the recipe tiny and for a space of 6 layers 384 wide. And how the losses of
the recipe tiny, on the embedded corpus of `make demo`, differ between the two precisions beside how
they differ between seeds. A finished training is kept and not done again.

    python benchmarks/training_precision.py --dir runs/precision --json PATH
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import torch
from provenance import provenance

import mosdeploy
from mosdeploy.cli.printing import table
from mosdeploy.config import load_recipe
from mosdeploy.config.sections import TrainingConfig
from mosdeploy.data.batches import Batches
from mosdeploy.data.ragged import Ragged
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.families.translation.elastic import fresh_supernet
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.training.device import DeviceContext
from mosdeploy.training.distributed import SINGLE_PROCESS
from mosdeploy.training.gradient import Gradient

WIDE = {
    "encoder_embed_dim": (256, 384),
    "decoder_embed_dim": (256, 384),
    "encoder_layers": (6,),
    "decoder_layers": (1, 2, 3, 4, 5, 6),
    "encoder_ffn_dim": (512, 1024, 1536),
    "decoder_ffn_dim": (512, 1024, 1536),
    "encoder_heads": (4, 6),
    "decoder_self_heads": (4, 6),
    "decoder_cross_heads": (4, 6),
    "qkv_dim": 384,
}
NUM_PAIRS = 4000
MAX_TOKENS = 50
"""Pairs whose steps are timed, and tokens on a side: of many lengths, since oneDNN compiles kernels
for each new shape.
"""
DTYPES = {"none": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Time, train what is not finished, print both tables, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    torch.set_num_threads(1)
    tiny = load_recipe("tiny").space
    assert isinstance(tiny, TranslationSpace)
    times = {
        "tiny": step_times(tiny, 1000, 512, args.rounds),
        "6 x 384": step_times(tiny.model_copy(update=WIDE), 8000, 2048, args.rounds),
    }
    rows = [
        [name, *(f"{ms:.0f}" for ms in found["step_ms"].values()), f"{found['optimizer_ms']:.0f}"]
        for name, found in times.items()
    ]
    print(table(["space", *times["tiny"]["step_ms"], "optimiser"], rows))
    trained = [train(args.dir, amp, seed) for amp in DTYPES for seed in args.seeds]
    spread = {amp: summary([row for row in trained if row["amp"] == amp]) for amp in DTYPES}
    print(table(["amp", *spread["none"]], [[amp, *row.values()] for amp, row in spread.items()]))
    if args.json:
        facts = {
            **provenance(["torch"]),
            "threads": 1,
            "times": times,
            "losses": spread,
            "trained": trained,
        }
        args.json.write_text(json.dumps(facts, indent=2) + "\n")


def pairs(vocab_size: int) -> TranslationDataset:
    """Made-up pairs of 5 to `MAX_TOKENS` tokens, each side a little longer or shorter."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, MAX_TOKENS - 3, NUM_PAIRS)
    return TranslationDataset(
        *(
            Ragged.of([rng.integers(4, vocab_size, n + rng.integers(4)).tolist() for n in lengths])
            for _ in range(2)
        )
    )


def step_times(space: TranslationSpace, vocab_size: int, tokens: int, rounds: int) -> Any:
    """Median milliseconds of a step's gradient by precision and attention, and of clipping and Adam
    together.
    """
    training = TrainingConfig(compute="cpu", tokens_per_batch=tokens)
    net = fresh_supernet(space, vocab_size, load_recipe("tiny").supernet, seed=1)
    batches = Batches(pairs(vocab_size), tokens, seed=1)
    context = DeviceContext.of(training)
    gradient = Gradient(net, training, context, context.scaler(), SINGLE_PROCESS)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    taken: dict[str, list[float]] = {}
    optimizer_s = []
    number = 0
    for _ in range(rounds + 1):
        for amp, dtype in DTYPES.items():
            for unfused in (False, True):
                # a step of its own: none is to find the kernels of another one's shapes
                number += 1
                start = time.process_time()
                way = replace(context, dtype=dtype, is_unfused=unfused)
                replace(gradient, context=way).add_up(batches, number)
                seconds = time.process_time() - start
                name = f"{'bf16' if amp == 'bf16' else 'fp32'} {'un' if unfused else ''}fused"
                taken.setdefault(name, []).append(seconds)
                start = time.process_time()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                optimizer_s.append(time.process_time() - start)
                optimizer.zero_grad()
    return {
        # without the first round, which warms up
        "step_ms": {name: round(1000 * median(found[1:]), 1) for name, found in taken.items()},
        "optimizer_ms": round(1000 * median(optimizer_s), 1),
    }


def train(folder: Path, amp: str, seed: int) -> dict[str, Any]:
    """The supernet of the recipe tiny in one precision; a finished one is left as it is."""
    run_folder = folder / f"{amp}-{seed}"
    if not (run_folder / "mosdeploy.toml").exists():
        mosdeploy.init(run_folder, device="local")
        path = run_folder / "mosdeploy.toml"
        options = f'[training]\namp = "{amp}"\nseed = {seed}\nthreads = 1'
        path.write_text(path.read_text().replace("[training]", options, 1))
    card = mosdeploy.open_run(run_folder).train()
    return {
        "amp": amp,
        "seed": seed,
        "largest_loss": round(card.largest_loss, 4),
        "smallest_loss": round(card.smallest_loss, 4),
        "train_s": round(card.train_seconds),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over seeds, and their standard deviations."""
    return {
        f"{name} {what}": round(function(row[name] for row in rows), 4)
        for name in ("largest_loss", "smallest_loss")
        for what, function in (("mean", mean), ("sd", stdev))
    }


if __name__ == "__main__":
    main()
