"""Which predictor a run folder has: measured, shipped or none."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from walking import damage

import mosdeploy
from mosdeploy.config.lookup import shipped_dir
from mosdeploy.errors import PredictorError, StaleInputError
from mosdeploy.pipeline.predictors import fitted, predictor
from mosdeploy.pipeline.run import Run, open_run
from mosdeploy.spaces.translation_arch import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
)


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
            EncoderLayerConfig(ffn_dim=ffn_dim, heads=heads)
            for ffn_dim, heads in zip(encoder_ffn, encoder_heads, strict=True)
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
    mosdeploy.init(tmp_path / "run", "wmt14.en-de")
    return open_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("device", "arch", "published_ms", "slowest_ms"),
    [
        ("rpi", PI_4_0, 4000.0, 12_000.0),
        ("xeon", XEON_340, 340.2, 600.0),
        ("titanxp", TITAN_126, 126.0, 350.0),
    ],
)
def test_a_fresh_folder_finds_a_shipped_predictor(
    run: Run,
    device: str,
    arch: TranslationArch,
    published_ms: float,
    slowest_ms: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = predictor(run, device)
    (warning,) = caplog.messages
    assert f"'{device}' was fitted on PyTorch eager (HAT's code), not on ONNX Runtime" in warning
    space = run.config.space
    smallest, middle, largest = found.predict(space.genes([space.smallest, arch, space.largest]))
    assert 0 < smallest < middle < largest < slowest_ms
    # HAT measured it months apart from the data
    assert middle == pytest.approx(published_ms, rel=0.2)
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
def test_a_shipped_predictor_answers_for_its_model_alone(
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


def test_shipped_predictors_are_small_and_licensed() -> None:
    shipped = shipped_dir("predictors")
    paths = sorted(shipped.glob("*/predictor.json"))
    names = [path.parent.name for path in paths]
    assert names == ["rpi-wmt14-ende", "titanxp-wmt14-ende", "xeon-wmt14-ende"]
    for path in paths:
        assert path.stat().st_size < 16_384
        assert "LICENSE-HAT" in json.loads(path.read_text())["card"]["licence"]
    assert "Hanrui Wang" in (shipped / "LICENSE-HAT").read_text()


def test_ones_own_measurements_need_no_warning(
    walked: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "mosdeploy"):
        found = predictor(open_run(walked), "local")
    assert found.card.runtime.startswith("onnxruntime ")
    assert caplog.messages == []


def test_a_damaged_predictor_is_fitted_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(folder)
    path = run.workspace.predictor_path("local", "sentence")
    content = path.read_bytes()
    damage(path)
    fitted(run, "local")
    assert path.read_bytes() == content
    (warning,) = caplog.messages
    assert warning.endswith("(fitting it again now)")


def test_a_predictor_of_another_device_is_refused(folder: Path) -> None:
    run = open_run(folder)
    path = run.workspace.predictor_path("rpi", "sentence")
    path.parent.mkdir()
    shutil.copy(run.workspace.predictor_path("local", "sentence"), path)
    with pytest.raises(PredictorError, match="device was local, is rpi"):
        predictor(run, "rpi")
