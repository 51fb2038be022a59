"""The whole walk on this machine, with every room real: what each verb leaves behind, and what it
refuses.
"""

import json
import shutil
from pathlib import Path

import pytest
from walking import Silent, make_run_folder

from mosdeploy import pipeline
from mosdeploy.errors import (
    ArchError,
    BundleError,
    ConfigError,
    DeviceBusyError,
    ExportError,
    InfeasibleError,
    StaleInputError,
)
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.sessions import read_sessions
from mosdeploy.records import Deployment, Limits, ScoreTable, SearchResult
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.storage import locked, read_record
from mosdeploy.workspace import Workspace

WIDE = Limits(max_latency_ms=10_000.0)


def search(root: Path, limits: Limits = WIDE, verify: bool = True) -> SearchResult:
    return pipeline.search(pipeline.open_run(root), None, limits, verify, root / "none", Silent())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_winner_was_measured_and_keeps_the_limit(walked: Path) -> None:
    result = read_record(SearchResult, Workspace(walked).search_result_path, "mosdeploy search")
    assert result.verified
    assert result.winner.measured_ms is not None
    assert result.winner.measured_ms <= 10_000.0
    assert result.winner.loss == min(c.loss for c in result.finalists if c.measured_ms is not None)
    front = [(c.predicted_ms, c.loss) for c in result.front]
    assert front == sorted(front, key=lambda pair: (pair[0], -pair[1]))
    assert [loss for _, loss in front] == sorted((loss for _, loss in front), reverse=True)


def test_the_device_is_known_before_and_after_and_its_floor_with_it(walked: Path) -> None:
    path = Workspace(walked).latency_path("local", "sentence")
    (session,) = read_sessions(path)
    assert session.state.cores == session.after.cores
    assert len(session.references) == 1 + 3  # at first, and after each four of twelve
    assert {json.loads(line)["session"] for line in lines(path)[1:]} == {session.session}
    assert LatencyDataset.load(path).noise_floor_percent > 0.0


def test_the_bundle_stands_on_the_device_and_translates_as_its_self_test_says(walked: Path) -> None:
    deployment = read_record(
        Deployment, Workspace(walked).deployment_path("local"), "mosdeploy deploy"
    )
    assert deployment.self_test_passed
    assert deployment.measurement.total is not None
    assert Path(deployment.remote_dir).is_relative_to(walked / "device")
    bundle = pipeline.bundle.newest_bundle(walked)
    assert bundle is not None
    manifest = json.loads((bundle / "manifest.json").read_text())
    sources = [test["source"] for test in manifest["self_test"]]
    done = pipeline.translate(walked, None, sources, 1)
    assert [pair.output for pair in done.translations] == [
        test["output"] for test in manifest["self_test"]
    ]


def test_scores_and_report_tell_of_the_same_winner(walked: Path) -> None:
    table = read_record(ScoreTable, Workspace(walked).scores_path, "mosdeploy evaluate")
    report = json.loads((walked / "report" / "report.json").read_text())
    assert report["headline"]["winner"] == table.subnets["winner"].arch.key
    assert report["headline"]["measured"] == "bundle"
    assert table.subnets["winner"].arch.key in (walked / "report" / "index.html").read_text()


def test_a_second_walk_repeats_no_work(folder: Path) -> None:
    run = pipeline.open_run(folder)
    before = {name: lines(folder / name) for name in ("supernet/log.jsonl", "search/quality.jsonl")}
    card = pipeline.train(run, Silent())
    assert card == run.supernet_card()
    summary = pipeline.profile(run, None, None, folder / "none", Silent())
    assert summary.measured_now == 0
    assert summary.num_records == 12
    first = read_record(SearchResult, run.workspace.search_result_path, "mosdeploy search")
    assert search(folder) == first
    assert before == {name: lines(folder / name) for name in before}


def test_a_larger_budget_measures_only_the_new_subnets(folder: Path) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    before = lines(path)
    summary = pipeline.profile(pipeline.open_run(folder), None, 14, folder / "none", Silent())
    assert summary.measured_now == 2
    assert lines(path)[: len(before)] == before
    keys = [json.dumps(json.loads(line)["arch"]) for line in lines(path)[1:]]
    assert len(set(keys)) == len(keys) == 14


def test_a_measurement_torn_by_a_kill_is_made_again_with_a_warning(folder: Path) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    with pytest.warns(UserWarning, match="cut short by a kill"):
        summary = pipeline.profile(pipeline.open_run(folder), None, None, folder / "none", Silent())
    assert (summary.measured_now, summary.num_records) == (1, 12)
    assert path.read_bytes().startswith(content[: content[:-1].rfind(b"\n") + 1])


def test_two_profiles_at_once_on_one_device_are_refused(folder: Path) -> None:
    with (
        locked(
            Workspace(folder).latency_path("local", "sentence"), DeviceBusyError("held by the test")
        ),
        pytest.raises(DeviceBusyError, match="another command measures on 'local'"),
    ):
        pipeline.profile(pipeline.open_run(folder), None, 14, folder / "none", Silent())


def test_a_limit_that_nothing_meets_names_the_fastest_subnet(folder: Path) -> None:
    with pytest.raises(InfeasibleError, match="least found") as caught:
        search(folder, Limits(max_latency_ms=1e-6))
    assert caught.value.fastest_latency_ms is not None
    assert caught.value.fastest_latency_ms > 1e-6


def test_limits_on_parameters_and_size_hold_together_with_latency(folder: Path) -> None:
    space = pipeline.open_run(folder).config.space
    most = (
        num_parameters(space, space.smallest, 44) + num_parameters(space, space.largest, 44)
    ) // 2
    result = search(
        folder, Limits(max_latency_ms=10_000.0, max_parameters=most, max_size_bytes=300_000)
    )
    assert result.winner.num_parameters <= most
    assert result.winner.size_bytes <= 300_000
    assert all(c.num_parameters <= most and c.size_bytes <= 300_000 for c in result.finalists)


def test_without_verification_the_result_says_so(folder: Path) -> None:
    result = search(folder, verify=False)
    assert not result.verified
    assert result.winner.measured_ms is None


def test_int8_is_exported_on_demand(folder: Path) -> None:
    exported = pipeline.export(pipeline.open_run(folder), "largest", "int8", None, Silent())
    assert exported.manifest.precision == "int8"
    assert exported.path.name.endswith("int8-beam1")


def test_a_bundle_that_loses_quality_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mosdeploy.families.translation import decoding as evaluate

    before = [path.name for path in (folder / "bundles").iterdir()]
    monkeypatch.setattr(
        evaluate, "translate", lambda subnet, sources, *_: [[4, 5, 6] for _ in sources]
    )
    with pytest.raises(ExportError, match="differently"):
        pipeline.export(pipeline.open_run(folder), "smallest", None, None, Silent())
    assert [path.name for path in (folder / "bundles").iterdir()] == before


@pytest.mark.parametrize(
    ("name", "verb", "part"),
    [
        ("supernet/supernet.pt", "search", "mosdeploy train"),
        ("supernet/supernet.json", "search", "mosdeploy train"),
        ("predictors/local-sentence/latency.jsonl", "profile", "latency.jsonl, line 1"),
        ("search/quality.jsonl", "search", "quality.jsonl, line 1"),
        ("search/result.json", "export", "mosdeploy search"),
    ],
)
def test_a_corrupt_file_is_named_with_the_verb_that_makes_it(
    folder: Path, name: str, verb: str, part: str
) -> None:
    path = folder / name
    path.write_bytes(b"#" + path.read_bytes()[1:])
    run, none = pipeline.open_run(folder), folder / "none"
    verbs = {
        "search": lambda: search(folder, Limits(max_latency_ms=9_000.0)),
        "profile": lambda: pipeline.profile(run, None, 14, none, Silent()),
        "export": lambda: pipeline.export(run, "winner", None, None, Silent()),
    }
    with pytest.raises(StaleInputError, match=part.replace(".", r"\.")) as caught:
        verbs[verb]()
    assert path.name in str(caught.value)


def test_a_corrupt_bundle_is_one_error_for_whoever_reads_it(folder: Path) -> None:
    bundle = pipeline.bundle.newest_bundle(folder)
    assert bundle is not None
    path = bundle / "model.onnx"
    path.write_bytes(b"#" + path.read_bytes()[1:])
    run = pipeline.open_run(folder)
    for verb in (
        lambda: pipeline.deploy(run, None, None, folder / "none", Silent()),
        lambda: pipeline.translate(folder, None, ["one"], 1),
        lambda: pipeline.report(run),
    ):
        with pytest.raises(BundleError, match=r"model\.onnx") as caught:
            verb()
        assert caught.value.exit_code == 8


def test_a_rollback_brings_the_device_and_its_record_back(folder: Path) -> None:
    run, none = pipeline.open_run(folder), folder / "none"
    first = pipeline.deploy(run, None, None, none, Silent())
    path = pipeline.export(run, "winner", "int8", None, Silent()).path
    second = pipeline.deploy(run, None, path, none, Silent())
    assert second.bundle.endswith("int8-beam1")
    assert pipeline.roll_back(run, None, none, Silent()) == first
    assert (
        read_record(Deployment, run.workspace.deployment_path("local"), "mosdeploy deploy") == first
    )


def test_a_rollback_has_to_know_the_device(folder: Path) -> None:
    config = folder / "mosdeploy.toml"
    config.write_text(config.read_text().replace('device = "local"\n', ""))
    deployments = folder / "deployments"
    shutil.copy(deployments / "local.json", deployments / "rpi@pi2.json")
    with pytest.raises(
        ConfigError, match=r"several devices were deployed to \(local, rpi --host pi2\)"
    ):
        pipeline.roll_back(pipeline.open_run(folder), None, folder / "none", Silent())
    shutil.rmtree(deployments)
    with pytest.raises(StaleInputError, match="nothing was deployed from this folder"):
        pipeline.roll_back(pipeline.open_run(folder), None, folder / "none", Silent())


def test_another_search_space_is_stale(folder: Path) -> None:
    text = (folder / "mosdeploy.toml").read_text()
    (folder / "mosdeploy.toml").write_text(
        text.replace("encoder_ffn_dim = [16, 64]", "encoder_ffn_dim = [16, 48]")
    )
    with pytest.raises(StaleInputError, match="search space"):
        search(folder)
    with pytest.raises(StaleInputError, match="measured for something else: search space"):
        pipeline.profile(pipeline.open_run(folder), None, None, folder / "none", Silent())


def test_an_architecture_outside_the_space_is_named(folder: Path) -> None:
    run = pipeline.open_run(folder)
    data = json.loads(run.config.space.largest.model_dump_json())
    data["encoder_embed_dim"] = 24
    (folder / "arch.json").write_text(json.dumps(data))
    with pytest.raises(ArchError, match="encoder_embed_dim is 24, allowed: \\[16, 32\\]"):
        pipeline.export(run, str(folder / "arch.json"), None, None, Silent())


def test_the_device_of_a_search_is_the_one_that_was_profiled(folder: Path) -> None:
    text = (folder / "mosdeploy.toml").read_text()
    (folder / "mosdeploy.toml").write_text(text.replace('device = "local"\n', ""))
    run = pipeline.open_run(folder)
    assert run.profiled_device_name(None) == "local"
    assert run.profiled_device_name("rpi") == "rpi"
    shutil.copytree(
        folder / "predictors" / "local-sentence", folder / "predictors" / "rpi-sentence"
    )
    with pytest.raises(ConfigError, match="several devices were profiled \\(local, rpi\\)"):
        run.profiled_device_name(None)


def test_a_search_before_train_and_an_export_before_search_name_the_verb(
    tmp_path: Path, folder: Path
) -> None:
    with pytest.raises(StaleInputError, match="mosdeploy train"):
        search(make_run_folder(tmp_path / "fresh"))
    (folder / "search" / "result.json").unlink()
    with pytest.raises(StaleInputError, match="mosdeploy search"):
        pipeline.export(pipeline.open_run(folder), "winner", None, None, Silent())


def test_train_mends_a_damaged_supernet(folder: Path) -> None:
    path = Workspace(folder).supernet_path
    content = path.read_bytes()
    path.write_bytes(b"#" + content[1:])
    run = pipeline.open_run(folder)
    with pytest.raises(StaleInputError, match="mosdeploy train"):
        search(folder)
    assert pipeline.train(run, Silent()).updates == 12
    assert search(folder).verified


def test_a_finished_run_trains_again_after_a_change(folder: Path) -> None:
    config = Workspace(folder).config_path
    config.write_text(config.read_text().replace("updates = 12", "updates = 3"))
    run = pipeline.open_run(folder)
    with pytest.raises(
        StaleInputError, match="the configuration is not the one that the supernet was trained from"
    ):
        search(folder)
    assert pipeline.train(run, Silent()).updates == 3


def test_a_changed_corpus_is_stale_until_trained_on(folder: Path) -> None:
    for name in ("train.en", "train.de"):
        path = folder / "data" / name
        path.write_text("".join(path.read_text().splitlines(keepends=True)[10:]))
    run = pipeline.open_run(folder)
    with pytest.raises(StaleInputError, match="the corpus is not the one"):
        pipeline.evaluate(run, ("largest",), None, Silent())
    with pytest.raises(StaleInputError, match="the corpus is not the one"):
        pipeline.export(run, "largest", None, None, Silent())


def test_a_refused_training_overwrites_nothing(folder: Path) -> None:
    from mosdeploy.supernet.checkpoint import save_training_state

    files = Workspace(folder)
    save_training_state(files.checkpoint_path, {"inputs_sha256": "another corpus"})
    files.config_path.write_text(
        files.config_path.read_text().replace("vocab_size = 44", "vocab_size = 40")
    )
    before = {path: path.read_bytes() for path in (folder / "supernet").iterdir() if path.is_file()}
    with pytest.raises(StaleInputError, match="another corpus or another configuration"):
        pipeline.train(pipeline.open_run(folder), Silent())
    assert before == {path: path.read_bytes() for path in before}


def test_a_search_for_another_workload_promises_nothing(folder: Path) -> None:
    config = Workspace(folder).config_path
    exported = pipeline.export(pipeline.open_run(folder), "winner", "int8", None, Silent())
    assert "search" not in exported.manifest.inputs_sha256
    deployment = pipeline.deploy(
        pipeline.open_run(folder), None, exported.path, folder / "none", Silent()
    )
    assert deployment.limit_ms is None
    config.write_text(config.read_text().replace("source_len = 6", "source_len = 5"))
    with pytest.raises(StaleInputError, match="another workload"):
        pipeline.export(pipeline.open_run(folder), "winner", None, None, Silent())


def test_a_parameter_limit_alone_needs_no_predictor(folder: Path) -> None:
    shutil.rmtree(folder / "predictors")
    result = search(folder, Limits(max_parameters=40_000), verify=False)
    assert result.predictor_sha256 is None
    assert result.winner.num_parameters <= 40_000
    page = pipeline.report(pipeline.open_run(folder)).page
    assert result.winner.arch.key in page.read_text()


def test_a_wrong_subnet_name_costs_no_translation(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'larges' is no architecture: write largest"):
        pipeline.evaluate(pipeline.open_run(folder), ("largest", "larges"), None, Silent())
