"""Which predictor a run folder has: measured, imported or shipped; and what an import refuses."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from walking import Silent

from mosdeploy.errors import ConfigError, PredictorError, StaleInputError
from mosdeploy.families.translation.hat import FEATURE_COLUMNS, TIME_COLUMNS
from mosdeploy.pipeline import import_latency, init, open_run, search
from mosdeploy.pipeline.predictors import predictor
from mosdeploy.pipeline.run import Run
from mosdeploy.records import Limits
from mosdeploy.spaces.translation import DecoderLayerConfig, EncoderLayerConfig, TranslationArch

SHIPPED = Path(__file__).parents[2] / "predictors"


def published(
    encoder_ffn: list[int], encoder_heads: list[int], decoder: list[tuple[int, int, int, int]]
) -> TranslationArch:
    """An architecture that HAT published, all of which are 512 wide; decoder: FFN, self, cross
    heads, span a layer.
    """
    return TranslationArch(
        encoder_embed_dim=512,
        decoder_embed_dim=512,
        encoder_layers=tuple(
            EncoderLayerConfig(ffn_dim=f, heads=h)
            for f, h in zip(encoder_ffn, encoder_heads, strict=True)
        ),
        decoder_layers=tuple(
            DecoderLayerConfig(ffn_dim=f, self_heads=s, cross_heads=c, cross_span=n)
            for f, s, c, n in decoder
        ),
    )


PI_4_0 = published([3072, 2048] * 3, [8, 8, 8, 4, 8, 8], [(1024, 4, 8, 1), (2048, 4, 8, 1)])
XEON_340 = published(
    [3072] * 6,
    [4, 4, 8, 8, 8, 4],
    [(3072, 8, 4, 1), (3072, 8, 8, 2), (3072, 8, 8, 2), (3072, 4, 8, 1)],
)
TITAN_126 = published(
    [3072] * 6, [4, 4, 8, 8, 8, 4], [(3072, 8, 4, 1), (3072, 8, 8, 2), (3072, 8, 8, 2)]
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fresh run folder of HAT's WMT space."""
    init(tmp_path / "run", "wmt14.en-de", None)
    return open_run(tmp_path / "run")


@pytest.fixture
def csv_path(tmp_path: Path, run: Run) -> Path:
    """Rows of the run's space."""
    return write_csv(tmp_path / "board.csv", run)


def write_csv(path: Path, run: Run) -> Path:
    """200 rows in HAT's format: 100 ms, 50 ms a decoder layer; rows 30-59 were throttled to half
    the speed.
    """
    space, rng = run.config.space, np.random.default_rng(0)
    genes = space.genes([space.sample(rng) for _ in range(200)])
    layers = genes[:, space.gene_slices["decoder_layers"]].sum(axis=1)
    slow = np.where((np.arange(200) >= 30) & (np.arange(200) < 60), 2.0, 1.0)
    lines = [",".join((*FEATURE_COLUMNS, *TIME_COLUMNS))]
    for averages, encoder_ms, decoder_ms in zip(
        space.aggregate_genes(genes).tolist(), 100 * slow, 50 * layers * slow, strict=True
    ):
        lines.append(",".join(map(str, [*averages, encoder_ms, decoder_ms])))
    path.write_text("\n".join(lines) + "\n")
    return path


def import_csv(run: Run, path: Path, **changes: str) -> None:
    options = {
        "file_format": "hat",
        "device": "rpi",
        "workload": "wmt14-ende",
        "source": "a paper",
        "licence": "MIT",
    }
    import_latency(run, path, **{**options, **changes})


@pytest.mark.parametrize(
    ("device", "arch", "published_ms", "slowest_ms"),
    [
        ("rpi", PI_4_0, 4000.0, 12_000.0),
        ("xeon", XEON_340, 340.2, 600.0),
        ("titanxp", TITAN_126, 126.0, 350.0),
    ],
)
def test_a_fresh_folder_finds_the_shipped_predictor_of_a_device_that_nobody_has(
    run: Run, device: str, arch: TranslationArch, published_ms: float, slowest_ms: float
) -> None:
    with pytest.warns(
        UserWarning,
        match=rf"'{device}' speaks of PyTorch eager \(HAT's code\), not of ONNX Runtime",
    ):
        found = predictor(run, device)
    space = run.config.space
    smallest, middle, largest = found.predict(space.genes([space.smallest, arch, space.largest]))
    assert 0 < smallest < middle < largest < slowest_ms
    assert middle == pytest.approx(
        published_ms, rel=0.2
    )  # HAT measured it months apart from the data
    assert found.card.source.startswith("HAT")
    assert "MIT" in found.card.licence
    assert found.card.num_samples + sum(b.stop - b.start for b in found.card.left_out) == 2000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threads = 4", "threads = 2", "workload.threads was 4, is 2"),
        ('precision = "fp32"', 'precision = "int8"', "workload.precision was fp32, is int8"),
        ("vocab_size = 32000", "vocab_size = 8000", "vocabulary size was 32000, is 8000"),
        ("encoder_heads = [4, 8]", "encoder_heads = [8]", "search space was"),
    ],
)
def test_a_shipped_predictor_answers_only_for_what_it_was_fitted_for(
    run: Run, old: str, new: str, message: str
) -> None:
    path = run.workspace.config_path
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(PredictorError, match=message):
        predictor(open_run(run.workspace.root), "rpi")


def test_a_device_of_which_nothing_is_known_names_profile(run: Run) -> None:
    with pytest.raises(
        StaleInputError,
        match="no predictor of it is shipped; run `mosdeploy profile --device local`",
    ):
        predictor(run, "local")


def test_an_import_leaves_out_what_was_throttled_and_is_found(run: Run, csv_path: Path) -> None:
    import_csv(run, csv_path)
    with pytest.warns(UserWarning, match="not of ONNX Runtime"):
        found = predictor(run, "rpi")
    space = run.config.space
    np.testing.assert_allclose(
        found.predict(space.genes([space.smallest, space.largest])), [150, 400], rtol=0.01
    )
    (block,) = found.card.left_out
    assert (block.start, block.stop, block.time_ratio) == (
        pytest.approx(30, abs=5),
        pytest.approx(60, abs=5),
        2.0,
    )
    assert (found.card.source, found.card.licence) == ("a paper", "MIT")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_format": "xml"}, "unknown format 'xml'; known: hat"),
        (
            {"workload": "iwslt14-deen"},
            "--workload is 'iwslt14-deen', but this run folder is about 'wmt14-ende'",
        ),
        ({"device": "rpy"}, "unknown device 'rpy'; did you mean 'rpi'"),
    ],
)
def test_an_import_of_something_else_is_refused(
    run: Run, csv_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        import_csv(run, csv_path, **changes)
    assert not (run.workspace.root / "predictors").exists()


def test_a_search_without_the_board_warns_once_and_stays_unverified(
    walked: Path, tmp_path: Path
) -> None:
    run = open_run(Path(shutil.copytree(walked, tmp_path / "copy")))
    import_csv(run, write_csv(tmp_path / "board.csv", run), workload="sentence")
    limits = Limits(max_latency_ms=170.0)  # one decoder layer, not two
    with pytest.warns(UserWarning, match="'rpi' speaks of PyTorch eager") as caught:
        result = search(run, "rpi", limits, False, tmp_path / "none", Silent())
    assert len(caught) == 1
    assert (result.verified, result.winner.measured_ms, result.finalists) == (False, None, ())
    assert result.winner.predicted_ms == pytest.approx(150, rel=0.01)
    assert len(result.winner.arch.decoder_layers) == 1


def test_measurements_of_ones_own_are_not_replaced_by_a_file(run: Run, csv_path: Path) -> None:
    own = run.workspace.latency_path("rpi", "wmt14-ende")
    own.parent.mkdir(parents=True)
    own.touch()
    with pytest.raises(ConfigError, match="holds measurements of 'rpi', which count more"):
        import_csv(run, csv_path)


def test_what_is_shipped_is_small_readable_and_has_its_licence_beside_it() -> None:
    paths = sorted(SHIPPED.glob("*/predictor.json"))
    assert [path.parent.name for path in paths] == [
        "rpi-wmt14-ende",
        "titanxp-wmt14-ende",
        "xeon-wmt14-ende",
    ]
    for path in paths:
        assert path.stat().st_size < 16_384
        assert "LICENSE-HAT" in json.loads(path.read_text())["card"]["licence"]
    assert "Hanrui Wang" in (SHIPPED / "LICENSE-HAT").read_text()


def test_a_predictor_from_ones_own_measurements_needs_no_warning(walked: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predictor(open_run(walked), "local").card.runtime.startswith("onnxruntime ")
