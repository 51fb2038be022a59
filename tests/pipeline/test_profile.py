"""Profiles that stop at an error, and predictors that are corrected from another device's."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from walking import Silent

from mosdeploy import pipeline
from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import PredictorError, StaleInputError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.design import choose
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.latency.sessions import read_sessions
from mosdeploy.pipeline.predictors import fitted, predictor
from mosdeploy.pipeline.run import Run
from mosdeploy.pipeline.summaries import ProfileSummary
from mosdeploy.records import LatencyContext, LatencyRecord, Limits, Measurement, Timing
from mosdeploy.spaces.translation import TranslationArch


@pytest.fixture
def folder(walked: Path, tmp_path: Path) -> Path:
    """A copy of the walked run folder, with twelve subnets measured, that a test may change."""
    return Path(shutil.copytree(walked, tmp_path / "run"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fresh run folder of HAT's WMT space, where predictors of three devices are shipped."""
    pipeline.init(tmp_path / "wmt", "wmt14.en-de", None)
    return pipeline.open_run(tmp_path / "wmt")


def profile_until(root: Path, percent: float, budget: int) -> ProfileSummary:
    return pipeline.profile(pipeline.open_run(root), None, budget, root / "none", Silent(), percent)


def designed(run: Run, count: int) -> list[TranslationArch]:
    config = run.config
    return choose(config.space, config.workload, config.corpus.vocab_size, count, seed=1)


def shipped_ms(run: Run, device: str, archs: list[TranslationArch]) -> np.ndarray:
    path = Path(__file__).parents[2] / "predictors" / f"{device}-wmt14-ende" / "predictor.json"
    return LatencyPredictor.load(path).predict(run.config.space.genes(archs))


def write_measurements(
    run: Run, device: str, archs: list[TranslationArch], latency_ms: np.ndarray
) -> None:
    """What a profile of a device would have left behind."""
    context = LatencyContext(
        dataset_id="made",
        device=DeviceProfile(name=device, host=device),
        workload=run.config.workload,
        space_sha256=run.space_sha256,
        vocab_size=run.config.corpus.vocab_size,
    )
    dataset = LatencyDataset.open(
        run.workspace.latency_path(device, run.config.workload.name), context
    )
    for arch, ms in zip(archs, latency_ms.tolist(), strict=True):
        timing = Timing(median_ms=ms, p90_ms=ms, minimum_ms=ms, repeats=15)
        dataset.append(
            LatencyRecord(
                arch=arch,
                measurement=Measurement(total=timing),
                runtime="onnxruntime 1.20.0",
                measured_at="2025-01-01T00:00:00Z",
                session="s1",
            )
        )


def test_a_profile_stops_as_soon_as_the_error_is_met_twice(folder: Path) -> None:
    shutil.rmtree(folder / "predictors")
    summary = profile_until(folder, 99.0, budget=30)
    assert (summary.error_met, summary.until_error_percent) == (True, 99.0)
    assert (summary.measured_now, summary.num_records) == (15, 15)
    again = profile_until(folder, 99.0, budget=30)
    assert (again.error_met, again.measured_now, again.num_records) == (True, 0, 15)


def test_a_profile_that_never_meets_the_error_spends_the_budget_and_says_so(folder: Path) -> None:
    summary = profile_until(folder, 1e-9, budget=14)
    assert (summary.error_met, summary.measured_now, summary.num_records) == (False, 2, 14)
    assert (
        pipeline.profile(pipeline.open_run(folder), None, 14, folder / "none", Silent()).error_met
        is None
    )


@pytest.fixture
def emulated(folder: Path) -> Path:
    """The same run folder, of a device that is an emulation."""
    profile = folder / "device_profiles" / "local.toml"
    profile.write_text(
        profile.read_text().replace('kind = "local"', 'kind = "local"\nemulated = true')
    )
    return folder


def test_an_error_of_an_emulated_device_is_refused_before_anything_is_measured(
    emulated: Path,
) -> None:
    with pytest.raises(PredictorError, match="emulated device: its times mean nothing"):
        profile_until(emulated, 2.0, budget=20)


def test_what_an_emulated_device_measured_says_so_and_is_not_fitted(emulated: Path) -> None:
    shutil.rmtree(emulated / "predictors")
    run = pipeline.open_run(emulated)
    summary = pipeline.profile(run, None, 4, emulated / "none", Silent())
    assert (summary.num_records, summary.emulated, summary.card) == (4, True, None)
    assert [session.emulated for session in read_sessions(Path(summary.path))] == [True]
    with pytest.raises(PredictorError, match="local is an emulated device"):
        pipeline.fit(run, None)


@pytest.mark.parametrize("limits", [Limits(max_latency_ms=9_000.0), Limits(max_parameters=40_000)])
def test_no_finalist_of_a_search_is_measured_on_an_emulated_device(
    emulated: Path, limits: Limits
) -> None:
    run = pipeline.open_run(emulated)
    with pytest.raises(
        PredictorError, match="emulated device: its times mean nothing, so no finalist is measured"
    ):
        pipeline.search(run, None, limits, True, emulated / "none", Silent())
    assert (
        pipeline.search(run, None, limits, False, emulated / "none", Silent()).winner.measured_ms
        is None
    )


def test_five_measurements_correct_the_shipped_predictor_of_the_same_device(run: Run) -> None:
    archs = designed(run, 105)
    on_the_board = 0.3 * shipped_ms(run, "rpi", archs) + 40.0
    write_measurements(run, "rpi", archs[:5], on_the_board[:5])
    with pytest.raises(
        PredictorError, match=r"5 measured subnets are too few .* fit --device rpi --from OTHER"
    ):
        pipeline.fit(run, "rpi")
    card = pipeline.fit(run, "rpi", "rpi")
    assert card.transfer is not None
    assert (card.transfer.source, card.transfer.used, card.transfer.scratch_percent) == (
        "rpi",
        True,
        None,
    )
    found = predictor(run, "rpi")
    np.testing.assert_allclose(
        found.predict(run.config.space.genes(archs[5:])), on_the_board[5:], rtol=1e-3
    )


def test_more_measurements_correct_again_what_was_corrected(run: Run) -> None:
    archs = designed(run, 9)
    latency = 0.3 * shipped_ms(run, "xeon", archs) + 4.0
    write_measurements(run, "rpi", archs[:6], latency[:6])
    first = pipeline.fit(run, "rpi", "xeon")
    assert fitted(run, "rpi").card == first  # nothing new, nothing fitted
    write_measurements(run, "rpi", archs[6:], latency[6:])
    again = fitted(run, "rpi").card
    assert again.transfer is not None
    assert (again.num_samples, again.transfer.source) == (9, "xeon")
    assert again.transfer.scratch_percent is not None
    assert pipeline.fit(run, "rpi").transfer is None  # asked for by name: from scratch


def test_a_device_that_was_measured_here_corrects_another_one(run: Run) -> None:
    archs = designed(run, 30)
    write_measurements(run, "local", archs, shipped_ms(run, "xeon", archs) / 7)
    write_measurements(run, "rpi", archs[:6], shipped_ms(run, "xeon", archs[:6]) / 2)
    card = pipeline.fit(run, "rpi", "local")
    assert card.transfer is not None
    assert card.transfer.source_sha256 != ""
    np.testing.assert_allclose(
        fitted(run, "rpi").predict(run.config.space.genes(archs)),
        shipped_ms(run, "xeon", archs) / 2,
        rtol=0.01,
    )


def test_a_source_that_is_corrected_itself_or_unknown_is_refused(run: Run) -> None:
    archs = designed(run, 6)
    write_measurements(run, "rpi", archs, shipped_ms(run, "xeon", archs))
    write_measurements(run, "local", archs, shipped_ms(run, "xeon", archs))
    pipeline.fit(run, "rpi", "xeon")
    with pytest.raises(
        PredictorError, match=r"'rpi' was itself corrected from that of 'xeon'; use --from xeon"
    ):
        pipeline.fit(run, "local", "rpi")
    with pytest.raises(StaleInputError, match="no predictor of it is shipped"):
        pipeline.fit(run, "rpi", "toaster")
    with pytest.raises(StaleInputError, match="no predictor of it is shipped"):
        pipeline.fit(run, "local", "local")
