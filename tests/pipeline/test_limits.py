"""A supernet that is trained within limits: measured first, trained then, searched within."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from encoder_walking import make_encoder_folder
from example_spaces import SMALL
from walking import KeptProgress, edit, limit_supernet, make_run_folder, opened

from mosdeploy.config.sections import SearchConfig, TrainingConfig
from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.pipeline.limits import (
    asked_limits,
    check_trained_for,
    cost_of,
    feasible_space,
    search_limits,
    told_training,
)
from mosdeploy.records import Limits, TrainingLimits
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.options import TrainOptions, with_defaults
from mosdeploy.run_folder.run import open_run
from mosdeploy.training import trainer
from mosdeploy.training.schedule import ArchSource, sandwich


def make_small_encoder(root: Path) -> Path:
    return make_encoder_folder(root / "encoder", "classification")


def time_by_macs(root: Path) -> None:
    """Put an exact device in the place of this machine, whose other programs may drown what a
    subnet of these sizes takes: a microsecond for every thousand multiply-accumulates.
    """
    spec = open_run(root).config.spec
    (path,) = root.glob("predictors/*/latency.jsonl")
    header, *lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        record = json.loads(line)
        arch = spec.space.arch_type.model_validate_json(json.dumps(record["arch"]))
        record["measurement"]["total"]["median_ms"] = spec.num_macs(arch) * 1e-6
        lines[i] = json.dumps(record)
    path.write_text("".join(f"{line}\n" for line in (header, *lines)))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run folder that was profiled before it was trained, and a latency between the ends."""
    root = make_run_folder(tmp_path_factory.mktemp("measured"))
    run = opened(root)
    assert run.profile().num_records == 12
    time_by_macs(root)
    assert run.fit().num_samples == 12
    space = run.config.space
    ends = run.predictor().predict(space.genes([space.smallest, space.largest]))
    return root, float(np.mean(ends))


@pytest.mark.slow
def test_training_draws_within_the_limit_only(
    measured: tuple[Path, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, limit_ms = measured
    sources: list[ArchSource | None] = []
    build: Callable[..., trainer.Gradient] = trainer.Gradient

    def watched(*arguments: object) -> trainer.Gradient:
        sources.append(arguments[5])  # type: ignore[arg-type]
        return build(*arguments)

    monkeypatch.setattr(trainer, "Gradient", watched)
    progress = KeptProgress()
    run = opened(root, progress)
    card = run.train(f"{limit_ms}ms")
    assert card.limits is not None
    assert card.limits.device == "local"
    told = f"trained within max_latency = {limit_ms:g} ms on local: subnets of "
    assert any(line.startswith(told) for line in progress.messages)

    model = run.predictor()
    space = run.config.space
    assert model.least_ms(space.genes([space.largest]))[0] > limit_ms
    (source,) = sources
    assert source is not None
    archs = [arch for step in range(1, 40) for arch in sandwich(source, TrainingConfig(), step)]
    assert (archs[0], archs[1]) == (card.limits.largest, card.limits.smallest)
    assert (model.least_ms(space.genes(archs)) <= limit_ms).all()

    # where the least prediction is above the limit, and no more than the predictor may be off
    least_ms = model.predict(space.genes([space.smallest]))[0]
    context = Context(open_run(root))
    low = card.limits.model_copy(update={"limits": Limits(max_latency_ms=0.99 * least_ms)})
    assert re.search(
        r"As predicted, no architecture .* keeps max_latency = .* \(least predicted: .* ms\)",
        told_training(context, low),
    )
    assert "As predicted" not in told_training(context, card.limits)

    # the same command finds it finished, as does a search; `largest` is one that was trained
    assert run.train(f"{limit_ms}ms") == card
    result = run.search(verify=False)
    assert result.limits == card.limits.limits
    assert run.evaluate(("largest",)).subnets["largest"].arch == card.limits.largest
    with pytest.raises(ConfigError, match=r"trained for max_latency = .* ms .* never trained"):
        run.search("10s", verify=False)


@pytest.mark.slow
def test_a_limit_in_the_run_file_is_the_same(measured: tuple[Path, float]) -> None:
    root, _ = measured
    edit(root / "mosdeploy.toml", "[training]", '[training]\nmax_parameters = "20k"')
    context = Context(open_run(root))
    given = TrainOptions(limits=Limits(max_parameters=20_000))
    from_file = feasible_space(context, TrainOptions())
    edit(root / "mosdeploy.toml", '[training]\nmax_parameters = "20k"', "[training]")
    told = feasible_space(Context(open_run(root)), given)
    assert from_file is not None
    assert told is not None
    assert (from_file.limits, from_file.largest) == (told.limits, told.largest)
    assert feasible_space(Context(open_run(root)), TrainOptions()) is None


def test_a_latency_limit_needs_a_profile_first(tmp_path: Path) -> None:
    run = opened(make_run_folder(tmp_path))
    edit(tmp_path / "mosdeploy.toml", 'device = "local"', 'device = "other"')
    with pytest.raises(StaleInputError, match="mosdeploy profile --device other"):
        opened(tmp_path).train("10ms")
    assert not (run.root / "supernet" / "supernet.safetensors").exists()


def test_what_a_search_may_ask_of_a_supernet() -> None:
    space = SMALL
    trained = TrainingLimits(
        device="rpi",
        limits=Limits(max_latency_ms=20.0, max_parameters=1000),
        predictor_sha256="x",
        largest=space.largest,
        smallest=space.smallest,
    )
    check_trained_for(trained, Limits(max_latency_ms=20.0, max_parameters=900), "rpi")
    check_trained_for(None, Limits(), "local")
    for limits, device, message in (
        (Limits(max_latency_ms=20.0, max_parameters=1000), "local", "latencies of 'rpi'"),
        (Limits(max_latency_ms=20.5, max_parameters=1000), "rpi", "max_latency = 20 ms .* 20.5 ms"),
        (Limits(max_latency_ms=20.0), "rpi", "max_parameters = 1,000 .* no such limit"),
        (Limits(max_latency_ms=20.0), "rpi", "keep max_parameters at 1000 or below"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_trained_for(trained, limits, device)


def test_the_command_line_goes_before_the_run_file() -> None:
    config = TrainingConfig(max_latency="150ms", max_parameters="4M")
    merged = with_defaults(Limits(max_latency_ms=20.0), config)
    assert merged == Limits(max_latency_ms=20.0, max_parameters=4_000_000)
    assert config.unlimited == TrainingConfig()


@pytest.mark.parametrize("make", [make_run_folder, make_small_encoder])
def test_a_limit_may_leave_the_table_out(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Of both families: the largest within the limit has a body within it, and a larger whole."""
    context = Context(open_run(make(tmp_path)))
    spec = context.spec
    bodies = [
        spec.inventory(arch).num_body_parameters
        for arch in (context.config.space.smallest, context.config.space.largest)
    ]
    most = sum(bodies) // 2
    source = feasible_space(context, TrainOptions(limits=Limits(max_body_parameters=most)))
    assert source is not None
    assert spec.inventory(source.largest).num_body_parameters <= most
    assert spec.num_parameters(source.largest) > most
    # the same number for all parameters is a tighter limit
    with_table = feasible_space(context, TrainOptions(limits=Limits(max_parameters=most)))
    assert with_table is not None
    assert spec.num_parameters(with_table.largest) < spec.num_parameters(source.largest)


@pytest.mark.parametrize("make", [make_run_folder, make_small_encoder])
def test_a_limit_on_memory_counts_model_and_activations(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    root = make(tmp_path)
    context = Context(open_run(root))
    ends = (context.config.space.smallest, context.config.space.largest)
    cost = cost_of(context.spec, context.family)
    costs = [cost(arch) for arch in ends]
    activations = [context.spec.inventory(arch).activation_bytes for arch in ends]
    assert [found.memory_bytes for found in costs] == [
        found.size_bytes + held for found, held in zip(costs, activations, strict=True)
    ]
    assert 0 < activations[0] < activations[1]
    most = sum(found.memory_bytes for found in costs) // 2
    source = feasible_space(context, TrainOptions(limits=Limits(max_memory_bytes=most)))
    assert source is not None
    assert cost(source.largest).memory_bytes <= most
    edit(root / "mosdeploy.toml", "[training]", f'[training]\nmax_memory = "{most}B"')
    from_file = feasible_space(Context(open_run(root)), TrainOptions())
    assert from_file is not None
    assert (from_file.limits, from_file.largest) == (source.limits, source.largest)


def test_what_is_asked_replaces_what_the_run_file_counts() -> None:
    config = SearchConfig(max_parameters="4M", count="encoder")
    assert with_defaults(Limits(), config) == Limits(max_body_parameters=4_000_000)
    assert with_defaults(Limits(max_parameters=9), config) == Limits(max_parameters=9)
    config = SearchConfig(max_parameters="4M")
    assert with_defaults(Limits(), config) == Limits(max_parameters=4_000_000)
    assert with_defaults(Limits(max_body_parameters=9), config) == Limits(max_body_parameters=9)
    # of what --max-parameters would count
    config = SearchConfig(count="encoder", max_latency="20ms")
    assert with_defaults(Limits(), config) == Limits(max_latency_ms=20.0)


def test_a_limit_counts_as_the_run_file_unless_it_is_said() -> None:
    config = SearchConfig(max_parameters="4M", count="encoder")
    assert asked_limits(config, None, 9, None, None, None) == Limits(max_body_parameters=9)
    assert asked_limits(config, None, 9, "total", None, None) == Limits(max_parameters=9)
    assert asked_limits(config, None, None, None, None, None) == Limits()


@pytest.mark.parametrize(
    ("config", "asked", "expected"),
    [
        # what nobody named is that of the training
        ("", {}, {"max_parameters": 40_000}),
        ('max_size = "3MiB"', {}, {"max_size_bytes": 3 * 2**20, "max_parameters": 40_000}),
        ("", {"max_size_bytes": 9}, {"max_size_bytes": 9, "max_parameters": 40_000}),
        # of the run file the tighter one holds, of the command line what it says
        ('max_parameters = "1M"', {}, {"max_parameters": 40_000}),
        ('max_parameters = "30k"', {}, {"max_parameters": 30_000}),
        ("", {"max_parameters": 50_000}, {"max_parameters": 50_000}),
    ],
)
def test_a_search_is_within_the_limits_of_the_training(
    folder: Path, config: str, asked: dict[str, int], expected: dict[str, int]
) -> None:
    limit_supernet(folder, max_parameters=40_000)
    edit(folder / "mosdeploy.toml", "[search]", f"[search]\n{config}")
    progress = KeptProgress()
    context = Context(open_run(folder), progress)
    found = search_limits(context, Limits.model_validate(asked))
    assert found == Limits.model_validate(expected)
    told = [line for line in progress.messages if "the supernet was trained for 40,000" in line]
    assert progress.messages == told
    assert bool(told) == ("1M" in config)


@pytest.mark.slow
def test_a_search_with_another_limit_in_the_run_file_is_not_refused(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "[search]", '[search]\nmax_size = "3MiB"')
    run = opened(folder)
    run.train(max_parameters=40_000)
    result = run.search(verify=False)
    assert result.limits == Limits(max_parameters=40_000, max_size_bytes=3 * 2**20)
    assert result.winner.num_parameters <= 40_000
    with pytest.raises(ConfigError, match="trained for max_parameters = 40,000"):
        run.search(max_parameters=50_000, verify=False)
