"""New run files, from recipes and for the user's data."""

import os
from pathlib import Path
from typing import Any

import pytest
from encoder_walking import write_checkpoint
from walking import KeptProgress, make_run_folder, write_corpus

import mosdeploy
from mosdeploy.errors import ConfigError
from mosdeploy.pipeline import init as module
from mosdeploy.pipeline.init import _named_from, init_from_data
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.options import InitOptions
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.summaries import StepTimes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "huge"}, "unknown recipe 'huge'; known: .*tiny"),
        ({"recipe": "tny"}, "unknown recipe 'tny'; did you mean 'tiny'[?] known: "),
        ({"device": "rpy"}, "unknown device 'rpy'; did you mean 'rpi'"),
    ],
)
def test_a_run_file_of_nothing_known_is_not_written(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        mosdeploy.init(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


# -- for the user's data


@pytest.fixture
def step_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training in tests of what is done with its times."""
    times = StepTimes(supernet_s=0.5, winner_s=0.1)
    monkeypatch.setattr(module, "time_steps", lambda *_, **__: times)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


def options(corpus: Path, **changes: Any) -> InitOptions:
    return InitOptions(tuple(str(corpus / f"train.{x}") for x in ("en", "de")), **changes)


@pytest.mark.usefixtures("step_times")
def test_a_time_is_spent_on_the_training(tmp_path: Path, corpus: Path) -> None:
    """0.07 of the steps at 0.5 s, the rest at 0.1 s, after what the validations take."""
    new = init_from_data(tmp_path, options(corpus, time="128s"))
    assert new.estimate.training_s == pytest.approx(128.0, rel=0.02)
    budget = mosdeploy.open_run(tmp_path).config.training.budget
    steps = new.estimate.steps
    steps_s = 0.5 * steps["supernet"] + 0.1 * steps["winner"]
    assert 0.9 * 128.0 <= steps_s <= 128.0
    assert sum(steps.values()) == budget
    assert mosdeploy.open_run(tmp_path).config.finetune.same_time
    assert "what 128 s of training are enough for" in (tmp_path / "mosdeploy.toml").read_text()
    assert new.found["subnets"].endswith("parameters")


@pytest.mark.usefixtures("step_times")
def test_winners_share_a_time(tmp_path: Path, corpus: Path) -> None:
    new = init_from_data(tmp_path, options(corpus, time="600s", num_winners=4))
    assert new.estimate.training_s == pytest.approx(600.0, rel=0.02)
    steps = new.estimate.steps
    budget = mosdeploy.open_run(tmp_path).config.training.budget
    assert steps["supernet"] + 4 * steps["winner"] == pytest.approx(budget, abs=4)


@pytest.mark.usefixtures("step_times")
def test_data_in_the_run_folder_is_named_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "run" / "data")
    monkeypatch.chdir(tmp_path)
    given = InitOptions(("run/data/train.en", "run/data/train.de"))
    init_from_data(Path("run"), given, device="rpi")
    config: Any = mosdeploy.open_run("run").config
    assert (config.corpus.train, config.device) == (("data/train.en", "data/train.de"), "rpi")


def test_a_file_may_have_a_colon_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "10:00.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert _named_from(Path("run"), "10:00.csv") == str(tmp_path / "10:00.csv")
    assert _named_from(Path("run"), "datasets:a/b/train") == "datasets:a/b/train"


@pytest.mark.usefixtures("step_times")
def test_settings_count_in_what_the_walk_takes(tmp_path: Path, corpus: Path) -> None:
    plain = init_from_data(tmp_path / "a", options(corpus))
    settings = {"training.budget": 100, "finetune.steps": 9}
    new = init_from_data(tmp_path / "b", options(corpus, settings=settings), device="local")
    assert sum(new.estimate.steps.values()) == 100 < sum(plain.estimate.steps.values())
    config = mosdeploy.open_run(tmp_path / "b").config
    assert (config.training.budget, config.finetune.steps, config.device) == (100, 9, "local")


@pytest.mark.usefixtures("step_times")
def test_a_program_is_told_what_was_found(tmp_path: Path, corpus: Path) -> None:
    told = KeptProgress()
    files = [corpus / "train.en", corpus / "train.de"]
    mosdeploy.init(tmp_path, train=files, progress=told, settings={"workload.beam": 2})
    assert any(x.startswith("pairs: ") for x in told.messages)
    assert any(x.endswith("parameters") for x in told.messages)
    *verbs, total = told.messages[-9:]
    named = [x.partition(": about ")[0] for x in verbs]
    assert (named[0], named[3], named[-1]) == ("train", "finetune", "report")
    assert verbs[0].endswith(" steps of the supernet, 0.50 s each)")
    assert total.endswith(" training")
    config: Any = mosdeploy.open_run(tmp_path).config
    assert config.workload.beam == 2


@pytest.mark.usefixtures("step_times")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": "3s"}, "3 s are not enough: .* give --time 16s or more"),
        ({"family": "decoder"}, "unknown family 'decoder'; known: encoder, translation"),
        ({"family": "translation", "checkpoint": "x"}, "a translation starts from no checkpoint"),
        ({"size": "huge"}, "unknown size 'huge'"),
        ({"text": "review"}, "--text and --label name columns of an encoder's table"),
        ({"settings": {"search.huge": 1}}, "unknown key 'search.huge'"),
        ({"num_winners": -1}, "num_winners is -1; at least 1 is needed"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, corpus: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        init_from_data(tmp_path, options(corpus, **changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("load", "is_busy"), [(2.0, False), (8.25, True)])
def test_steps_are_really_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, is_busy: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    told = KeptProgress()
    context = Context(open_run(make_run_folder(tmp_path)), told)
    times = module.time_steps(context, num_timed=1)
    assert min(times.winner_s, times.supernet_s) > 0
    assert any("(load average 8.2, 2 cores)" in x for x in told.messages) == is_busy


def test_timing_takes_a_small_part_of_the_time(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def step_times(*_: object, max_time_s: float) -> StepTimes:
        asked.append(max_time_s)
        return StepTimes(supernet_s=0.5, winner_s=0.1)

    monkeypatch.setattr(module, "time_steps", step_times)
    init_from_data(tmp_path, options(corpus, time="128s"))
    assert asked == [pytest.approx(6.4)]


@pytest.mark.parametrize(("time_s", "num_rows"), [(30.0, 4000), (1e5, 400)])
def test_more_data_need_no_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time_s: float, num_rows: int
) -> None:
    """Where a teacher labels each example, as many are drawn as the steps read; validations take a
    tenth of the time at most.
    """
    times = StepTimes(supernet_s=0.5, winner_s=0.3)
    monkeypatch.setattr(module, "time_steps", lambda *_, **__: times)
    rows = [f"the film is {'bright' if i % 2 else 'dull'} {i},{i % 2}" for i in range(num_rows)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    write_checkpoint(tmp_path / "bert")
    given = InitOptions(
        (str(tmp_path / "reviews.csv"),), checkpoint=str(tmp_path / "bert"), time=f"{time_s}s"
    )
    new = init_from_data(tmp_path / "run", given)
    assert new.estimate.training_s == pytest.approx(time_s, rel=0.1)
    training = mosdeploy.open_run(tmp_path / "run").config.training
    if time_s > 1e4:
        assert (training.train_examples, training.valid_examples) == (None, None)
        assert "drawn" not in new.found
    else:
        assert training.train_examples is not None and training.train_examples < num_rows
        assert "to validate on, for the time" in new.found["drawn"]
