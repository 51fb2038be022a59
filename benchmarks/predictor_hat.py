"""The latency predictor on HAT's published data, beside HAT's own recipe.

    python benchmarks/predictor_hat.py --data HAT_FOLDER --json

Every CSV file of the folder is a data set. Rows 0-1399 are for fitting, 1600-1999 for testing; rows
1400-1599 served to choose the constants of the method. The throttled blocks among the first rows
are found and left out; nothing is left out of the test rows. The recipe is HAT's own network,
trained afresh. Errors are mean relative ones.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hat_data import HatData, find_outlier_blocks, fit_hat, read_hat, rows_outside
from results import add_result_options, finish

from mosdeploy.latency.fitting import IndexArray, measure_errors
from mosdeploy.latency.predictor import FitFacts, LatencyPredictor, fit_map
from mosdeploy.latency.regression import choose_rows
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.spec import FloatArray, Rows
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")
TRAIN = slice(0, 1400)
TEST = slice(1600, 2000)
BUDGETS = (10, 20, 50, 100)
TRANSFER_BUDGETS = (5, 10, 20)
POOL_SIZE = 400
SEED = 0
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
DEVICES = {
    "wmt14ende_cpu_raspberrypi": "Pi 4",
    "wmt14ende_cpu_xeon": "Xeon",
    "wmt14ende_gpu_titanxp": "TITAN Xp",
}
HAT_STEPS = 5000
HAT_BATCH = 128
HAT_LEARNING_RATE = 1e-5
HAT_FEATURE_SCALE = np.array([640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the processor seconds that it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def cells_of(
    model: str, predicted_ms: FloatArray, test: HatData, seconds: float, digits: int
) -> list[str]:
    """Return a line of the table of whole fits."""
    errors = measure_errors(predicted_ms, test.latency_ms)
    within = f"{errors.within_5_percent:.1f}%"
    error = f"{errors.mape_percent:.2f}%"
    return [model, error, within, f"{errors.kendall_tau:.3f}", f"{seconds:.{digits}f}"]


def mape(predicted_ms: FloatArray, test: HatData) -> float:
    """Return the mean relative error in percent."""
    return float(measure_errors(predicted_ms, test.latency_ms).mape_percent)


def fit(data: HatData) -> LatencyPredictor:
    """Fit as the product does, without a trial of small networks."""
    return fit_hat(data, SPEC, device="board", try_mlp=False)


def ours(train: HatData, test: HatData) -> list[str]:
    """Fit all training rows; the seconds are the median of five fits."""
    fit(train)  # warm up
    fits = [timed(lambda: fit(train)) for _ in range(5)]
    seconds = float(np.median([seconds for _, seconds in fits]))
    return cells_of("ours", fits[0][0].predict_rows(test.rows), test, seconds, 2)


def few_samples(train: HatData, test: HatData, num_draws: int) -> tuple[list[str], list[str]]:
    """Fit few designed rows; return errors, and shares of other rows that lie in the interval."""
    errors, shares = [], []
    for budget in BUDGETS:
        mapes, held = [], []
        for rest, rows in draws(train, budget, num_draws):
            predictor = LatencyPredictor.fit(
                SPEC,
                train.rows[rows],
                train.latency_ms[rows],
                facts=FitFacts(device="board"),
                encoding="aggregated",
                try_mlp=False,
            )
            mapes.append(mape(predictor.predict_rows(test.rows), test))
            held.append(share_held(predictor, train.rows[rest], train.latency_ms[rest]))
        median, high = np.quantile(mapes, [0.5, 0.9])
        errors.append(f"{median:.2f} ({high:.2f})")
        shares.append(f"{np.mean(held):.2f} ({np.quantile(held, 0.1):.2f})")
    return errors, shares


def share_held(predictor: LatencyPredictor, rows: Rows, latency_ms: FloatArray) -> float:
    """Return the share of the measurements that lie in the interval of their prediction."""
    error = np.abs(np.log(latency_ms / predictor.predict_rows(rows)))
    return float((error <= predictor.half_width(rows)).mean())


def transfer(source: LatencyPredictor, train: HatData, test: HatData, num_draws: int) -> list[str]:
    """Correct another device's predictor by a few designed rows of this one; return errors."""
    features = source.corrected_features(test.rows)
    found = []
    for budget in TRANSFER_BUDGETS:
        fits = [
            fit_map(source, train.rows[x], train.latency_ms[x])
            for _, x in draws(train, budget, num_draws)
        ]
        found.append(f"{np.median([mape(x.model.predict(features), test) for x in fits]):.2f}")
    return found


def draws(train: HatData, budget: int, num_draws: int) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Yield the usable rows outside a random pool, and the designed rows of the pool."""
    features = SPEC.latency_features_of_means(train.rows)
    blocks = find_outlier_blocks(features, train.latency_ms, SPEC.space.num_core_features)
    usable = np.flatnonzero(rows_outside(blocks, len(features)))
    for draw in range(num_draws):
        pool = np.random.default_rng((SEED, draw)).choice(usable, POOL_SIZE, replace=False)
        rest = np.setdiff1d(usable, pool)
        yield rest, pool[choose_rows(features[pool], SPEC.space.num_core_features, budget)]


def hat_recipe(train: HatData, test: HatData) -> list[str]:
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
    return cells_of("HAT's recipe", scale * outputs.double().numpy(), test, seconds, 1)


def main() -> None:
    """Fit every file, print the tables, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with HAT's CSV files")
    parser.add_argument("--draws", type=int, default=20, help="draws of few rows")
    add_result_options(parser)
    options = parser.parse_args()
    files = {
        DEVICES.get(path.stem, path.stem): read_hat(path)
        for path in sorted(options.data.glob("*.csv"))
    }
    if not files:
        parser.error(f"no CSV files in {options.data}")
    predictors = {name: fit(data[TRAIN]) for name, data in files.items()}
    whole, few, held, corrected = [], [], [], []
    for name, data in files.items():
        train, test = data[TRAIN], data[TEST]
        whole += [[name, *ours(train, test)], [name, *hat_recipe(train, test)]]
        errors, shares = few_samples(train, test, options.draws)
        few.append([name, *errors])
        held.append([name, *shares])
        for other, source in predictors.items():
            if other != name:
                corrected.append([name, other, *transfer(source, train, test, options.draws)])
    budgets = ["10 rows", *map(str, BUDGETS[1:])]
    header = ("device", "model", "error", "within 5%", "Kendall tau", "fit, CPU seconds")
    finish(options, PACKAGES, header, whole, [SEED], "1,400 rows")
    finish(options, PACKAGES, ("error, %", *budgets), few, [SEED], "error from few rows")
    finish(options, PACKAGES, ("in the interval", *budgets), held, [SEED], "share in the interval")
    header = ("error on", "from", "5 rows", *map(str, TRANSFER_BUDGETS[1:]))
    finish(options, PACKAGES, header, corrected, [SEED], "from another device")


if __name__ == "__main__":
    main()
