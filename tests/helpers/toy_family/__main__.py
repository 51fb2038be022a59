"""Take the toy family through the verbs: `python -m toy_family FOLDER` in a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from toy_family import install

RUN_FILE = """
family = "cipher"
device = "local"
[letters]
path = "lines.txt"
[space]
width = [8, 16]
depth = [1, 2]
hidden = [16, 32, 48]
[training]
steps = 60
tokens_per_batch = 512
warmup_steps = 5
learning_rate = 1e-2
threads = 1
validate_every = 30
checkpoint_every = 30
[finetune]
steps = 10
[profile]
budget = 14
[search]
population = 8
iterations = 2
eval_examples = 30
finalists = 2
"""

DEVICE = """
name = "local"
kind = "local"
work_dir = "{folder}/device"
[measure]
warmup = 1
min_time_s = 0.0
max_time_s = 0.05
reference_every = 8
max_drift_percent = 1e6  # no machine is too busy for a test
"""


def make_folder(root: Path) -> None:
    """A run folder with lines of made-up letters."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefgh"))
    lines = ["".join(rng.choice(letters, rng.integers(3, 12))) for _ in range(400)]
    (root / "lines.txt").write_text("\n".join(lines))
    (root / "mosdeploy.toml").write_text(RUN_FILE)
    (root / "device_profiles").mkdir()
    (root / "device_profiles" / "local.toml").write_text(DEVICE.format(folder=root))


def search_made_up() -> dict[str, object]:
    """A predictor of made-up times, and a search by made-up losses, without a run folder."""
    from mosdeploy.config.sections import SearchConfig
    from mosdeploy.latency.predictor import FitFacts, LatencyPredictor
    from mosdeploy.records import Limits
    from mosdeploy.search.constraints import Cost, SearchOracle
    from mosdeploy.search.evolution import evolve
    from mosdeploy.spaces import ModelSpec
    from toy_family.words import CipherSpace, CipherWorkload

    space = CipherSpace(width=(8, 16, 24), depth=(1, 2, 3), hidden=(16, 32, 48))
    spec = ModelSpec(space, 9, CipherWorkload())
    rng = np.random.default_rng(0)
    genes = space.genes([space.sample(rng) for _ in range(40)])
    latency_ms = spec.latency_features(genes) @ [1.0, 0.5, 200.0, 300.0]
    facts = FitFacts(device="rpi")
    predictor = LatencyPredictor.fit(spec, genes, latency_ms, facts=facts, try_mlp=False)
    oracle = SearchOracle(
        losses=lambda archs: [1 / spec.num_parameters(arch) for arch in archs],
        cost=lambda arch: Cost(spec.num_parameters(arch), 0, 0, 0),
        predict_ms=predictor.predict,
    )
    limit_ms = float(np.median(latency_ms))
    config = SearchConfig(population=50, iterations=12)
    evolution = evolve(space, config, Limits(max_latency_ms=limit_ms), oracle)
    return {
        "mape_percent": predictor.card.mape_percent,
        "limit_ms": limit_ms,
        "winner": evolution.ranked[0].model_dump(mode="json"),
    }


def refusals(run: Any) -> dict[str, str]:
    """What the family lacks, in the words of the errors."""
    import mosdeploy

    attempts = {
        "tvm": lambda: run.export(runtime="tvm"),
        "beam": lambda: run.evaluate(beam=4),
        "deploy": run.deploy,
    }
    told = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except mosdeploy.MosdeployError as error:
            told[name] = f"{type(error).__name__}: {error}"
    return told


def walk(root: Path) -> dict[str, object]:
    """What each verb gave."""
    import mosdeploy

    make_folder(root)
    run = mosdeploy.open_run(root)
    results = {
        "train": run.train(),
        "profile": run.profile(),
        "fit": run.fit(),
        "predicted": run.search("10s", verify=False),
        "search": run.search("10s", max_size=20_000),
        "finetune": run.finetune("winner", steps=8),
        "scratch": run.finetune("winner", steps=8, from_scratch=True),
        "evaluate": run.evaluate(),
        "export": run.export().manifest,
        "int8": run.export(weights="inherited", precision="int8", max_score_drop=100).manifest,
        "report": run.report().report,
    }
    weighed = run.export(precision="auto", max_score_drop=50.0).precision_choice
    predictor = run.predictor()
    genes = predictor.space.genes([predictor.space.smallest, predictor.space.largest])
    return {
        **{verb: record.model_dump(mode="json") for verb, record in results.items()},
        "made_up": search_made_up(),
        "predicted_ms": predictor.predict(genes).tolist(),
        "answers": run.predict(["abc", "hh"]),
        "precisions": [x.precision for x in weighed.candidates],
        "refused": refusals(run),
        "again": run.search("10s", max_size=20_000) == results["search"],
    }


if __name__ == "__main__":
    install()
    walked = walk(Path(sys.argv[1]))
    prefix = "mosdeploy.families."
    loaded = sorted(name for name in sys.modules if name.startswith(prefix))
    print(json.dumps({**walked, "families": [name.removeprefix(prefix) for name in loaded]}))
