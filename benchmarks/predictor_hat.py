"""The latency predictor on HAT's published data, beside HAT's own recipe.

    python benchmarks/predictor_hat.py --data HAT_FOLDER               # about two minutes a file
    python benchmarks/predictor_hat.py --data HAT_FOLDER --no-recipe   # half a minute a file

Every CSV file of the folder is a data set. Rows 0-1399 are for fitting, 1600-1999 for testing; rows
1400-1599 served to choose the constants of the method, and no fit sees them. The throttled blocks
among the first rows are found and left out; nothing is chosen by, and nothing left out of, the test
rows. The floor is the error on the test rows of the model that fits these rows best, which no model
of these latency features can beat. The recipe is HAT's own network, trained afresh. Unless it is
left out, the result is kept in predictor_hat.json beside this script.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hat_data import HatData, find_outlier_blocks, fit_hat, read_hat, rows_outside
from provenance import command, versions
from scipy.optimize import linprog

from mosdeploy.latency.design import choose_rows
from mosdeploy.latency.fitting import IndexArray, measure_errors
from mosdeploy.latency.predictor import FitFacts, LatencyPredictor, fit_map
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.spec import FloatArray, Rows
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload
from mosdeploy.storage import atomic_write

RESULT_PATH = Path(__file__).with_suffix(".json")
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")
TRAIN = slice(0, 1400)
TEST = slice(1600, 2000)
BUDGETS = (8, 10, 20, 30, 50, 100)
TRANSFER_BUDGETS = (5, 10, 20)
POOL_SIZE = 400
SEED = 0
NUM_PREDICTIONS = 1_000_000
WORKLOAD = TranslationWorkload(name="wmt14-ende", source_len=30, decode_steps=30, beam=5)
VOCAB_SIZE = 32_768
SPACE = TranslationSpace(  # what the published data were sampled from
    encoder_embed_dim=(512, 640),
    decoder_embed_dim=(512, 640),
    encoder_layers=(6,),
    decoder_layers=(1, 2, 3, 4, 5, 6),
    encoder_ffn_dim=(512, 1024, 2048, 3072),
    decoder_ffn_dim=(512, 1024, 2048, 3072),
    encoder_heads=(2, 4, 8),
    decoder_self_heads=(2, 4, 8),
    decoder_cross_heads=(2, 4, 8),
    cross_span=(1, 2, 3),
    qkv_dim=512,
)
SPEC = ModelSpec(SPACE, VOCAB_SIZE, WORKLOAD)
HAT_STEPS = 5000
HAT_BATCH = 128
HAT_LEARNING_RATE = 1e-5
HAT_FEATURE_SCALE = np.array([640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Run once; the result and the processor seconds it took, all threads together."""
    start = time.process_time()
    return work(), time.process_time() - start


def errors_of(predicted_ms: FloatArray, test: HatData) -> dict[str, float]:
    return {
        name: round(value, 3)
        for name, value in vars(measure_errors(predicted_ms, test.latency_ms)).items()
    }


def fit(data: HatData, try_mlp: bool) -> LatencyPredictor:
    return fit_hat(data, SPEC, device="board", try_mlp=try_mlp)


def ours(train: HatData, test: HatData) -> dict[str, Any]:
    """All training rows, with and without a trial of the MLP ensemble."""
    fit(train, try_mlp=False)  # warm up
    fits = [timed(lambda: fit(train, try_mlp=False)) for _ in range(5)]
    regression = fits[0][0]
    regression_s = float(np.median([seconds for _, seconds in fits]))
    full, full_s = timed(lambda: fit(train, try_mlp=True))
    return {
        "regression": {
            **errors_of(regression.predict_rows(test.rows), test),
            "fit_cpu_s": round(regression_s, 3),
        },
        "with_mlp_trial": {
            **errors_of(full.predict_rows(test.rows), test),
            "fit_cpu_s": round(full_s, 3),
            "uses_mlp": full.card.uses_mlp,
        },
        "rejected_rows": regression.card.num_rejected,
    }


def floor_mape(test: HatData) -> float:
    """Least mean relative error, in percent, of any coefficients of the features, chosen by these
    very rows.
    """
    features = SPEC.latency_features_of_means(test.rows)
    relative = features / features.max(axis=0) / test.latency_ms[:, None]
    num_rows, num_features = relative.shape
    one = np.eye(num_rows)
    # over coefficients and the absolute error of each row, which lies above the error and its
    # negative
    least = linprog(
        np.r_[np.zeros(num_features), np.ones(num_rows)],
        A_ub=np.block([[relative, -one], [-relative, -one]]),
        b_ub=np.r_[np.ones(num_rows), -np.ones(num_rows)],
        bounds=[(None, None)] * num_features + [(0, None)] * num_rows,
    )
    return 100.0 * float(least.fun) / len(test.rows)


def few_samples(
    train: HatData, test: HatData, num_draws: int
) -> dict[str, dict[int, dict[str, float]]]:
    """MAPE over draws of few rows, designed (from a random pool) and random, outside the throttled
    blocks; and which share of the rows outside the pool, measured in the same hours, lies in the
    predictor's interval.
    """
    table: dict[str, dict[int, dict[str, float]]] = {"designed": {}, "random": {}}
    for budget in BUDGETS:
        mape: dict[str, list[float]] = {"designed": [], "random": []}
        held: dict[str, list[float]] = {"designed": [], "random": []}
        for pool, rest, designed in draws(train, budget, num_draws):
            for name, rows in (("designed", designed), ("random", pool[:budget])):
                predictor = LatencyPredictor.fit(
                    SPEC,
                    train.rows[rows],
                    train.latency_ms[rows],
                    facts=FitFacts(device="board"),
                    encoding="aggregated",
                    try_mlp=False,
                )
                mape[name].append(
                    measure_errors(predictor.predict_rows(test.rows), test.latency_ms).mape_percent
                )
                held[name].append(share_held(predictor, train.rows[rest], train.latency_ms[rest]))
        for name, values in mape.items():
            table[name][budget] = median_and_p90(values) | mean_and_p10(held[name])
    return table


def share_held(predictor: LatencyPredictor, rows: Rows, latency_ms: FloatArray) -> float:
    """Share of the measurements that lie in the interval of their prediction."""
    error = np.abs(np.log(latency_ms / predictor.predict_rows(rows)))
    return float((error <= predictor.half_width(rows)).mean())


def transfer(
    source: LatencyPredictor, train: HatData, test: HatData, num_draws: int
) -> dict[int, dict[str, float]]:
    """MAPE of another device's predictor, corrected by a few designed rows of this one."""
    features = source.corrected_features(test.rows)
    table: dict[int, dict[str, float]] = {}
    for budget in TRANSFER_BUDGETS:
        fits = [
            fit_map(source, train.rows[x], train.latency_ms[x])
            for *_, x in draws(train, budget, num_draws)
        ]
        mape = [
            measure_errors(x.model.predict(features), test.latency_ms).mape_percent for x in fits
        ]
        table[budget] = median_and_p90(mape)
    return table


def draws(
    train: HatData, budget: int, num_draws: int
) -> Iterator[tuple[IndexArray, IndexArray, IndexArray]]:
    """Random pools of rows outside the throttled blocks, the other such rows, and of each pool the
    designed ones.
    """
    features = SPEC.latency_features_of_means(train.rows)
    blocks = find_outlier_blocks(features, train.latency_ms, SPEC.num_core_features)
    usable = np.flatnonzero(rows_outside(blocks, len(features)))
    for draw in range(num_draws):
        pool = np.random.default_rng((SEED, draw)).choice(usable, POOL_SIZE, replace=False)
        rest = np.setdiff1d(usable, pool)
        yield pool, rest, pool[choose_rows(features[pool], SPEC.num_core_features, budget)]


def median_and_p90(mape: list[float]) -> dict[str, float]:
    median, high = np.quantile(mape, [0.5, 0.9])
    return {"median_mape": round(float(median), 3), "p90_mape": round(float(high), 3)}


def mean_and_p10(shares: list[float]) -> dict[str, float]:
    low = np.quantile(shares, 0.1)
    return {"mean_held": round(float(np.mean(shares)), 3), "p10_held": round(float(low), 3)}


def predictions_per_cpu_s(predictor: LatencyPredictor) -> float:
    """From an integer gene array of a whole population."""
    rng = np.random.default_rng(SEED)
    genes = np.tile(
        SPACE.genes([SPACE.sample(rng) for _ in range(1000)]), (NUM_PREDICTIONS // 1000, 1)
    )
    return NUM_PREDICTIONS / min(timed(lambda: predictor.predict(genes))[1] for _ in range(3))


def hat_recipe(train: HatData, test: HatData) -> dict[str, float]:
    """HAT's predictor: ten scaled averages, four hidden layers of 400, MSE, Adam at 1e-5, 5,000
    batches of 128.
    """
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    scale = float(np.median(train.latency_ms))  # HAT sets one by hand for each device
    inputs = torch.tensor(train.rows / HAT_FEATURE_SCALE, dtype=torch.float32)
    targets = torch.tensor(train.latency_ms / scale, dtype=torch.float32)
    widths = [inputs.shape[1], 400, 400, 400, 400]
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=HAT_LEARNING_RATE)

    def train_network() -> None:
        for _ in range(HAT_STEPS):
            batch = torch.randperm(len(inputs))[:HAT_BATCH]
            loss = nn.functional.mse_loss(network(inputs[batch])[:, 0], targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    _, seconds = timed(train_network)
    with torch.inference_mode():
        outputs = network(torch.tensor(test.rows / HAT_FEATURE_SCALE, dtype=torch.float32))[:, 0]
    return {**errors_of(scale * outputs.double().numpy(), test), "fit_cpu_s": round(seconds, 1)}


def main() -> None:
    """Run on every file, print a table or one JSON object, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with HAT's CSV files")
    parser.add_argument("--draws", type=int, default=20, help="draws of few rows")
    parser.add_argument(
        "--recipe",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="train HAT's own network too (needs torch)",
    )
    parser.add_argument("--out", type=Path, default=RESULT_PATH)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    options = parser.parse_args()
    files = {path.stem: read_hat(path) for path in sorted(options.data.glob("*.csv"))}
    if not files:
        parser.error(f"no CSV files in {options.data}")
    predictors = {name: fit(data[TRAIN], try_mlp=False) for name, data in files.items()}
    results: dict[str, Any] = {}
    for name, data in files.items():
        results[name] = run(name, data, predictors, options.draws, options.recipe)
        if not options.json:
            print_result(name, results[name])
    outcome = {
        "command": command(),
        "seed": SEED,
        "versions": versions(PACKAGES),
        "results": results,
    }
    if options.recipe:
        atomic_write(options.out, json.dumps(outcome, indent=2) + "\n")
    if options.json:
        print(json.dumps(outcome, indent=2))


def run(
    name: str, data: HatData, predictors: dict[str, LatencyPredictor], num_draws: int, recipe: bool
) -> dict[str, Any]:
    """Everything about one file."""
    train = data[TRAIN]
    test = data[TEST]
    others = {other: predictor for other, predictor in predictors.items() if other != name}
    result: dict[str, Any] = {
        "full": ours(train, test),
        "floor_mape_percent": round(floor_mape(test), 3),
        "hat_recipe": hat_recipe(train, test) if recipe else None,
        "few": few_samples(train, test, num_draws),
        "transfer_from": {
            other: transfer(predictor, train, test, num_draws)
            for other, predictor in others.items()
        },
        "predictions_per_cpu_s": round(predictions_per_cpu_s(predictors[name])),
    }
    return result


def print_result(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}  ({result['predictions_per_cpu_s']:,} predictions a CPU second)")
    models = {key: result["full"][key] for key in ("regression", "with_mlp_trial")}
    if result["hat_recipe"] is not None:
        models["HAT's recipe"] = result["hat_recipe"]
    for model, e in models.items():
        shares = f"within 5% {e['within_5_percent']:.1f}%  within 10% {e['within_10_percent']:.1f}%"
        print(
            f"  {model:15} MAPE {e['mape_percent']:.2f}%  {shares}  tau {e['kendall_tau']:.3f}  "
            f"fit {e['fit_cpu_s']} CPU s"
        )
    print(f"  {'floor':15} MAPE {result['floor_mape_percent']:.2f}%")
    tables = {
        **result["few"],
        **{f"from {other}": table for other, table in result["transfer_from"].items()},
    }
    for kind, table in tables.items():
        cells = "  ".join(
            f"{n}: {e['median_mape']:.2f} ({e['p90_mape']:.2f})" for n, e in table.items()
        )
        print(f"  {kind:30} median (p90) MAPE % by rows  {cells}")
    for kind, table in result["few"].items():
        cells = "  ".join(
            f"{n}: {e['mean_held']:.2f} ({e['p10_held']:.2f})" for n, e in table.items()
        )
        print(f"  {kind:30} mean (p10) share in the interval  {cells}")


if __name__ == "__main__":
    main()
