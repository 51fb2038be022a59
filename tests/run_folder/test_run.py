"""Which run file is opened, and which device a verb means."""

import shutil
from pathlib import Path

import pytest
from walking import edit, make_run_folder

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.run_folder.run import open_run


def test_a_device_is_the_option_else_the_config_else_here(tmp_path: Path) -> None:
    root = make_run_folder(tmp_path / "run")
    edit(root / "mosdeploy.toml", 'device = "local"', 'device = "xeon"')
    run = open_run(root)
    assert (run.device_name("rpi"), run.device_name(None)) == ("rpi", "xeon")
    edit(root / "mosdeploy.toml", 'device = "xeon"\n', "")
    assert open_run(root).device_name(None) == "local"


def test_a_copied_run_folder_measures_in_jobs_of_its_own(tmp_path: Path) -> None:
    run = open_run(make_run_folder(tmp_path / "run"))
    copy = open_run(Path(shutil.copytree(run.workspace.root, tmp_path / "copy")))
    assert copy.job_id("d1") != run.job_id("d1") != run.job_id("d2")
    (tmp_path / "link").symlink_to(run.workspace.root)
    assert open_run(tmp_path / "link").job_id("d1") == run.job_id("d1")


def test_the_device_of_a_search_is_the_one_that_was_profiled(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", 'device = "local"\n', "")
    run = open_run(folder)
    predictors = folder / "predictors"
    (predictors / "local-sentence").rename(predictors / "rpi-sentence")
    assert run.profiled_device_name(None) == "rpi"
    assert run.profiled_device_name("xeon") == "xeon"
    shutil.copytree(predictors / "rpi-sentence", predictors / "local-sentence")
    with pytest.raises(ConfigError, match=r"several devices were profiled \(local, rpi\)"):
        run.profiled_device_name(None)


def test_files_of_a_supernet_belong_together(folder: Path) -> None:
    run = open_run(folder)
    run.workspace.tokenizer_path.unlink()
    with pytest.raises(StaleInputError, match=r"tokenizer\.model is missing or is not the file"):
        run.supernet_card()


def test_a_workload_whose_name_ends_with_that_of_another_is_another(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", 'device = "local"\n', "")
    predictors = folder / "predictors"
    (predictors / "local-sentence").rename(predictors / "local-long-sentence")
    run = open_run(folder)
    assert run.devices_with_latencies() == []
    assert run.profiled_device_name(None) == "local"
    (predictors / "local-long-sentence" / "latency.jsonl").write_text("")
    assert run.devices_with_latencies() == []  # the predictor tells as much
    (predictors / "local-long-sentence" / "predictor.json").write_text("{")
    assert run.devices_with_latencies() == ["local-long"]
