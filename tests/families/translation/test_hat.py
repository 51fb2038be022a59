from pathlib import Path

import numpy as np
import pytest
from example_spaces import WMT, space_of
from latency_fixtures import draw, space, spec, true_latency

from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.hat import (
    MEAN_COLUMNS,
    TIME_COLUMNS,
    fit_hat,
    import_hat,
    read_hat,
)
from mosdeploy.latency.fitting import measure_errors
from mosdeploy.latency.transfer import fit_map
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.translation import TranslationWorkload

__all__ = ["draw", "space", "spec", "true_latency"]

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "hat"
HEAD = ",".join((*MEAN_COLUMNS, *TIME_COLUMNS, "latency_std_encoder", "latency_std_decoder"))
ROW = "512,6,1877.3,6.0,640,3,1706.7,6.0,2.7,1.3,1990.1,5932.6,413.9,45.9"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "wmt14ende_board.csv"


def test_a_row_is_read_as_it_stands(path):
    path.write_text(f"{HEAD}\n{ROW}\n")
    data = read_hat(path)
    np.testing.assert_array_equal(data.rows, [[512, 6, 1877.3, 6, 640, 3, 1706.7, 6, 2.7, 1.3]])
    assert data.latency_ms == pytest.approx([1990.1 + 5932.6])


def test_averages_of_a_space_come_back_as_a_predictor(path, space, spec, true_latency, draw):
    genes = draw(80, seed=1)
    unseen = draw(50, seed=2)
    rows = [
        ",".join(map(repr, [*averages.tolist(), 0.25 * ms, 0.75 * ms, 0.0, 0.0]))
        for averages, ms in zip(
            space.aggregate_genes(genes), true_latency(genes).tolist(), strict=True
        )
    ]
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    predictor = import_hat(path, spec, device="board", licence="MIT")
    assert predictor.card.left_out == ()
    assert predictor.card.runtime == "PyTorch eager (HAT's code)"
    assert predictor.card.source == path.name
    assert predictor.card.licence == "MIT"
    np.testing.assert_allclose(predictor.predict(unseen), true_latency(unseen), rtol=0.01)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "not in HAT's format: no column encoder_embed_dim"),
        (f"{HEAD}\n", "holds no rows"),
        ("", "not in HAT's format"),
        (
            f"{HEAD}\n{ROW}\n{ROW.replace('1706.7', 'wide')}\n",
            "line 3: decoder_ffn_embed_dim_avg is 'wide'",
        ),
        (f"{HEAD}\n{ROW.replace('5932.6', '-1')}\n", "line 2: latency_mean_decoder is '-1'"),
        (f"{HEAD}\n{ROW.replace('5932.6', 'nan')}\n", "line 2: latency_mean_decoder is 'nan'"),
        (f"{HEAD}\n512,6\n", "line 2: encoder_ffn_embed_dim_avg is None"),
    ],
)
def test_a_bad_file_is_refused_with_line_and_column(path, content, message):
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_hat(path)


def test_a_missing_or_binary_file_is_refused(path):
    with pytest.raises(ConfigError, match="no such file"):
        read_hat(path)
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="not a CSV text file"):
        read_hat(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_hat(path.parent)


def test_too_few_rows_or_rows_of_another_space_are_refused(path, spec):
    path.write_text("\n".join([HEAD, *[ROW] * 7]))
    with pytest.raises(ConfigError, match=r"board\.csv holds 7 rows; a fit needs at least 8"):
        fit_hat(read_hat(path), spec, device="board")
    path.write_text("\n".join([HEAD, *[ROW] * 8]))
    with pytest.raises(ConfigError, match="no row has encoder_embed_dim 32, only 512"):
        fit_hat(read_hat(path), spec, device="board")


def test_layers_far_beyond_those_that_were_measured_are_refused(path):
    path.write_text("\n".join([HEAD, *[ROW] * 8]))
    once = {
        "encoder_embed_dim": (512,),
        "encoder_layers": (6,),
        "decoder_embed_dim": (640,),
        "decoder_layers": (3,),
    }
    wide = WMT.model_copy(update={**once, "decoder_ffn_dim": (1024, 65536)})
    with pytest.raises(ConfigError, match=r"decoder_ffn_dim from \S+ to \S+ in .*, not 65536"):
        fit_hat(read_hat(path), ModelSpec(wide, 32_000, TranslationWorkload()), device="board")


@pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="HAT's published data are not beside the checkout"
)
@pytest.mark.parametrize(
    ("name", "spans", "limit"),
    [
        ("wmt14ende_cpu_raspberrypi", [(0, 120)], 1.0),
        ("wmt14ende_cpu_xeon", [], 5.2),
        ("wmt14ende_gpu_titanxp", [(0, 14), (1263, 1400)], 2.2),
    ],
)
def test_published_data_throttled_blocks_and_error(name, spans, limit):
    data = read_hat(PUBLISHED / f"{name}.csv")
    spec = ModelSpec(WMT, 32768, TranslationWorkload(beam=5))
    predictor = fit_hat(data[:1400], spec, device="board", try_mlp=False)
    assert [(block.start, block.stop) for block in predictor.card.left_out] == [
        (pytest.approx(start, abs=5), pytest.approx(stop, abs=5)) for start, stop in spans
    ]
    test = data[1600:]
    assert measure_errors(predictor.predict_rows(test.rows), test.latency_ms).mape_percent <= limit


@pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="HAT's published data are not beside the checkout"
)
def test_ten_rows_of_a_gpu_correct_the_predictor_of_a_pi():
    space = space_of(
        embed_dim=(512, 640),
        layers=(1, 2, 3, 4, 5, 6),
        ffn_dim=(512, 1024, 2048, 3072),
        heads=(2, 4, 8),
        qkv_dim=512,
        encoder_layers=(6,),
        cross_span=(1, 2, 3),
    )
    pi, gpu = (
        read_hat(PUBLISHED / f"wmt14ende_{name}.csv") for name in ("cpu_raspberrypi", "gpu_titanxp")
    )
    spec = ModelSpec(space, 32768, TranslationWorkload(beam=5))
    source = fit_hat(pi[:1400], spec, device="rpi", try_mlp=False)
    features = source.corrected_features(gpu.rows[1600:])
    errors = []
    for seed in range(20):
        rows = np.random.default_rng(seed).choice(np.arange(14, 1263), 10, replace=False)
        fitted = fit_map(source, gpu.rows[rows], gpu.latency_ms[rows])
        predicted = fitted.model.predict(features)
        errors.append(measure_errors(predicted, gpu.latency_ms[1600:]).mape_percent)
    # from scratch, ten designed rows give 2.4, ten random ones 3.1
    assert np.median(errors) < 2.9
