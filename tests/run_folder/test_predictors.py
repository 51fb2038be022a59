"""Which predictor a run folder has: measured, shipped or none."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from walking import damage, lines_of, opened

import mosdeploy
from mosdeploy.config.lookup import shipped_dir
from mosdeploy.config.units import Statistic
from mosdeploy.errors import PredictorError, StaleInputError
from mosdeploy.records import LatencyContext
from mosdeploy.run_folder.predictors import (
    _warn_of_few_repeats,
    fit_again,
    fitted,
    predictor,
    tail_ratio,
)
from mosdeploy.run_folder.run import Run, open_run
from mosdeploy.spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fresh run folder of HAT's WMT space."""
    mosdeploy.init(tmp_path / "run", "wmt14.en-de")
    return open_run(tmp_path / "run")


PI_4_0 = {
    "encoder": [(3072, 8), (2048, 8), (3072, 8), (2048, 4), (3072, 8), (2048, 8)],
    "decoder": [(1024, 4, 8, 1), (2048, 4, 8, 1)],
}
XEON_340 = {
    "encoder": [(3072, heads) for heads in (4, 4, 8, 8, 8, 4)],
    "decoder": [(3072, 8, 4, 1), (3072, 8, 8, 2), (3072, 8, 8, 2), (3072, 4, 8, 1)],
}
TITAN_126 = {"encoder": XEON_340["encoder"], "decoder": XEON_340["decoder"][:3]}


@pytest.mark.parametrize(
    ("device", "layers", "published_ms", "slowest_ms"),
    [
        ("rpi", PI_4_0, 4000.0, 12_000.0),
        ("xeon", XEON_340, 340.2, 600.0),
        ("titanxp", TITAN_126, 126.0, 350.0),
    ],
)
def test_a_fresh_folder_finds_a_shipped_predictor(
    run: Run,
    device: str,
    layers: dict[str, list[tuple[int, ...]]],
    published_ms: float,
    slowest_ms: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HAT published architectures of width 512, which it measured months apart from the data."""
    names = ("ffn_dim", "self_heads", "cross_heads", "cross_span")
    encoder = tuple(EncoderLayerConfig(ffn_dim=f, heads=h) for f, h in layers["encoder"])
    decoder = (dict(zip(names, x, strict=True)) for x in layers["decoder"])
    arch = TranslationArch(
        encoder_embed_dim=512,
        decoder_embed_dim=512,
        encoder_layers=encoder,
        decoder_layers=tuple(DecoderLayerConfig(**x) for x in decoder),
    )
    found = predictor(run, device)
    (warning,) = caplog.messages
    assert f"'{device}' was fitted on PyTorch eager (HAT's code), not on ONNX Runtime" in warning
    space = run.config.space
    smallest, middle, largest = found.predict(space.genes([space.smallest, arch, space.largest]))
    assert 0 < smallest < middle < largest < slowest_ms
    assert middle == pytest.approx(published_ms, rel=0.2)
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


def test_a_fit_tells_what_was_never_timed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As where the deepest run into the time-out of a board."""
    run = open_run(folder)
    path = run.workspace.latency_path("local", "sentence")
    [head, *lines] = path.read_text().splitlines()
    depth = min(run.config.space.encoder_layers)
    left = [x for x in lines if len(json.loads(x)["arch"]["encoder_layers"]) != depth]
    path.write_text("\n".join([head, *left]) + "\n")
    fit_again(run, "local", None)
    (warning,) = caplog.messages
    assert f"no subnet that was timed on 'local' has encoder_layers = {depth}:" in warning


def test_a_predictor_of_another_device_is_refused(folder: Path) -> None:
    run = open_run(folder)
    path = run.workspace.predictor_path("rpi", "sentence")
    path.parent.mkdir()
    shutil.copy(run.workspace.predictor_path("local", "sentence"), path)
    with pytest.raises(PredictorError, match="device was local, is rpi"):
        predictor(run, "rpi")


def test_a_predictor_whose_measurements_are_gone_counts_no_more(folder: Path) -> None:
    """Nobody knows any more under which conditions they were made."""
    run = open_run(folder)
    profiled = run.workspace.latency_path("local", "sentence")
    header = lines_of(profiled)[0]
    profiled.unlink()
    for _ in range(2):
        with pytest.raises(StaleInputError, match="run `mosdeploy profile --device local`"):
            predictor(run, "local")
        seen = opened(folder).status()
        found = {x.what: x for x in seen.parts if x.name == "local"}
        assert (found["dataset"].state, found["predictor"].state) == ("missing", "stale")
        assert seen.next_command == "mosdeploy profile --device local"
        assert predictor(run, "local", current=False).device == "local"  # of a report
        profiled.write_text(f"{header}\n")  # as a profile does that reaches no device
    # one that was published names its source
    path = run.workspace.predictor_path("local", "sentence")
    path.write_text(path.read_text().replace('"source": ""', '"source": "a paper"'))
    assert predictor(run, "local").card.source == "a paper"


def test_a_predictor_that_was_copied_alone_counts(folder: Path) -> None:
    run = open_run(folder)
    profiled = run.workspace.latency_path("local", "sentence")
    profiled.unlink()
    profiled.with_name("sessions.jsonl").unlink()
    assert predictor(run, "local").device == "local"


def set_tail(path: Path, **changes: float) -> None:
    """The fields of every timing of a dataset."""
    first, *lines = lines_of(path)
    records = [json.loads(line) for line in lines]
    for record in records:
        record["measurement"]["total"].update(changes, median_ms=1.0)
    path.write_text("\n".join([first, *map(json.dumps, records)]) + "\n")


def time_for(path: Path, statistic: Statistic) -> None:
    """As if finalists had been measured for a figure."""
    first, rest = path.read_text().split("\n", 1)
    context = LatencyContext.model_validate_json(first)
    context = context.model_copy(update={"device": context.device.timed_for(statistic)})
    path.write_text(f"{context.model_dump_json()}\n{rest}")


def test_a_tail_is_that_of_subnets_with_enough_repeats(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A p99 of ten repeats is nearly the longest of them, and rare long runs are seldom there."""
    run = open_run(folder)
    profiled = run.workspace.latency_path("local", "sentence")
    verified = run.workspace.verified_path("local", "sentence")
    set_tail(profiled, p99_ms=1.1, repeats=10)
    set_tail(verified, p99_ms=1.2, repeats=200)
    _warn_of_few_repeats.cache_clear()
    # the finalists were timed for a median
    assert tail_ratio(run, "local", "p99") == 1.1
    (warning,) = caplog.messages
    assert "the p99 on 'local' is predicted from fewer than 200 repeats" in warning
    caplog.clear()
    _warn_of_few_repeats.cache_clear()
    time_for(verified, "p99")
    assert tail_ratio(run, "local", "p99") == 1.2
    # of another day, when the device may have been busy: a report still tells what was predicted
    text = verified.read_text()
    verified.write_text(text.replace('"measured_at": "2', '"measured_at": "1'))
    assert tail_ratio(run, "local", "p99") == 1.1
    assert tail_ratio(run, "local", "p99", current=False) == 1.2
    caplog.clear()
    _warn_of_few_repeats.cache_clear()
    verified.unlink()
    set_tail(profiled, p99_ms=1.3, repeats=200)
    assert tail_ratio(run, "local", "p99") == 1.3
    assert caplog.messages == []
    # the repeats of four rounds are added up
    content = profiled.read_text()
    assert content.count('"rounds": 1,') > 1
    profiled.write_text(content.replace('"rounds": 1,', '"rounds": 4,'))
    assert tail_ratio(run, "local", "p99") == 1.3
    assert len(caplog.messages) == 1
