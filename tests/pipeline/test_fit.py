"""Predictors that are fitted to what was measured, or corrected from another device's."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from latency_fixtures import leave_measurements
from walking import opened

import mosdeploy
from mosdeploy.config.lookup import shipped_dir
from mosdeploy.errors import ConfigError, PredictorError, StaleInputError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.latency.regression import choose
from mosdeploy.records import Measurement
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.predictors import fitted, latency_context, predictor
from mosdeploy.run_folder.run import Run, open_run
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import fingerprint


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fresh run folder of HAT's WMT space, where predictors of three devices are shipped."""
    mosdeploy.init(tmp_path / "wmt", "wmt14.en-de")
    return open_run(tmp_path / "wmt")


@pytest.fixture
def fit(run: Run):
    return opened(run.workspace.root).fit


def designed(run: Run, count: int) -> list[ArchConfig]:
    return choose(run.config.spec, count, seed=1)


def shipped_ms(run: Run, device: str, archs: list[ArchConfig]) -> np.ndarray:
    path = shipped_dir("predictors") / f"{device}-wmt14-ende" / "predictor.json"
    return LatencyPredictor.load(path).predict(run.config.space.genes(archs))


def write_measurements(run: Run, device: str, archs: list[ArchConfig], times: np.ndarray) -> None:
    path = run.workspace.latency_path(device, run.config.workload.name)
    leave_measurements(run, device, path, archs, times)


def test_a_fit_of_what_was_measured_is_what_the_profile_left(walked: Path, folder: Path) -> None:
    path = open_run(walked).workspace.predictor_path("local", "sentence")
    before = LatencyPredictor.load(path)
    assert opened(folder).fit() == before.card
    assert before.card.num_samples == 12


def test_five_measurements_correct_a_shipped_predictor(run: Run, fit) -> None:
    archs = designed(run, 105)
    on_the_board = 0.3 * shipped_ms(run, "rpi", archs) + 40.0
    write_measurements(run, "rpi", archs[:5], on_the_board[:5])
    with pytest.raises(
        PredictorError, match=r"5 measured subnets are too few .* fit --device rpi --from OTHER"
    ):
        fit("rpi")
    trial = fit("rpi", source="rpi").transfer
    assert trial is not None
    assert (trial.source, trial.used, trial.scratch_percent) == ("rpi", True, None)
    found = predictor(run, "rpi").predict(run.config.space.genes(archs[5:]))
    np.testing.assert_allclose(found, on_the_board[5:], rtol=1e-3)


def test_more_measurements_correct_again_what_was_corrected(run: Run, fit) -> None:
    archs = designed(run, 9)
    latency_ms = 0.3 * shipped_ms(run, "xeon", archs) + 4.0
    write_measurements(run, "rpi", archs[:6], latency_ms[:6])
    first = fit("rpi", source="xeon")
    assert fitted(run, "rpi").card == first  # nothing new, nothing fitted
    write_measurements(run, "rpi", archs[6:], latency_ms[6:])
    again = fitted(run, "rpi").card
    assert again.transfer is not None
    assert (again.num_samples, again.transfer.source) == (9, "xeon")
    assert again.transfer.scratch_percent is not None
    assert fit("rpi").transfer is None  # asked for by name: from scratch


def test_a_device_that_was_measured_here_corrects_another(run: Run, fit) -> None:
    archs = designed(run, 30)
    xeon_ms = shipped_ms(run, "xeon", archs)
    write_measurements(run, "local", archs, xeon_ms / 7)
    write_measurements(run, "rpi", archs[:6], xeon_ms[:6] / 2)
    card = fit("rpi", source="local")
    assert card.transfer is not None
    assert card.transfer.source_sha256 != ""
    found = fitted(run, "rpi").predict(run.config.space.genes(archs))
    np.testing.assert_allclose(found, xeon_ms / 2, rtol=0.01)
    # more was measured on the source: what was corrected from it follows
    write_measurements(run, "local", designed(run, 32)[30:], np.array([40.0, 45.0]))
    again = fitted(run, "rpi").card.transfer
    assert again is not None
    assert again.source_sha256 == fingerprint(fitted(run, "local")) != card.transfer.source_sha256
    shutil.rmtree(run.workspace.predictor_dir("local", run.config.workload.name))
    assert fitted(run, "rpi").card.transfer == again  # it cannot be told, and what was fitted stays


def begin(run: Run, device: str) -> LatencyDataset:
    """A profile that never reached its device, or one to go on with."""
    path = run.workspace.latency_path(device, run.config.workload.name)
    return LatencyDataset.open(path, latency_context(run, run_profile(run.workspace.root, device)))


def test_a_source_that_was_never_reached_is_the_shipped_one(run: Run, fit) -> None:
    archs = designed(run, 6)
    write_measurements(run, "local", archs, shipped_ms(run, "rpi", archs) / 3)
    before = fit("local", source="rpi")
    begin(run, "rpi")
    assert fit("local", source="rpi") == before
    assert predictor(run, "local").card == before


def test_a_subnet_that_fails_again_changes_no_predictor(run: Run, fit) -> None:
    archs = designed(run, 10)
    write_measurements(run, "rpi", archs[:9], shipped_ms(run, "xeon", archs[:9]))
    fit("rpi")
    before = fingerprint(fitted(run, "rpi"))
    dataset = begin(run, "rpi")
    failed = {"arch": archs[9], "measurement": Measurement(error="out of memory")}
    for _ in range(2):
        dataset.append(dataset.records[0].model_copy(update=failed))
        assert fingerprint(fitted(run, "rpi")) == before


@pytest.mark.parametrize("count", [7, 9])
def test_status_keeps_the_source_of_a_correction(run: Run, fit, count: int) -> None:
    archs = designed(run, 9)
    latency_ms = 0.3 * shipped_ms(run, "xeon", archs) + 4.0
    write_measurements(run, "rpi", archs[:6], latency_ms[:6])
    fit("rpi", source="xeon")
    write_measurements(run, "rpi", archs[6:count], latency_ms[6:count])
    parts = opened(run.workspace.root).status().parts
    (found,) = (x for x in parts if x.what == "predictor")
    assert (found.state, found.command) == ("stale", "mosdeploy fit --device rpi --from xeon")


def test_a_source_that_was_corrected_itself_is_refused(run: Run, fit) -> None:
    archs = designed(run, 6)
    for device in ("rpi", "local"):
        write_measurements(run, device, archs, shipped_ms(run, "xeon", archs))
    fit("rpi", source="xeon")
    with pytest.raises(
        PredictorError, match=r"'rpi' was itself corrected from that of 'xeon'; use --from xeon"
    ):
        fit("local", source="rpi")


@pytest.mark.parametrize(
    ("device", "source", "error", "told"),
    [
        ("rpi", "rpi5", StaleInputError, "no predictor of it is shipped"),
        ("local", "local", StaleInputError, "no predictor of 'local' is shipped that could be"),
        ("nosuch", None, ConfigError, "unknown device 'nosuch'; .*known devices"),
        ("../local", None, ConfigError, "unknown device '../local'"),
        ("local", "nosuch", ConfigError, "unknown device 'nosuch'"),
    ],
)
def test_an_unknown_device_or_source_is_refused(
    run: Run, fit, device: str, source: str | None, error: type[Exception], told: str
) -> None:
    if error is StaleInputError:
        archs = designed(run, 6)
        write_measurements(run, device, archs, shipped_ms(run, "xeon", archs))
    with pytest.raises(error, match=told):
        fit(device, source=source)
