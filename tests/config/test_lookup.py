from pathlib import Path

from mosdeploy.config.lookup import lookup_dirs, resolve_path, shipped_dir


def test_the_run_folder_comes_first_and_what_is_shipped_last(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    run, user, shipped = lookup_dirs("predictors", tmp_path / "run")
    assert run == tmp_path / "run" / "predictors"
    assert user == tmp_path / "config" / "mosdeploy" / "predictors"
    assert shipped == shipped_dir("predictors")


def test_a_user_without_a_home_folder_has_what_is_shipped(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)  # of whom the system knows nothing
    assert lookup_dirs("predictors", str(tmp_path)) == [
        tmp_path / "predictors",
        shipped_dir("predictors"),
    ]


def test_in_a_wheel_it_lies_inside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "mosdeploy"
    monkeypatch.setattr("mosdeploy.config.lookup.__file__", str(package / "config" / "lookup.py"))
    assert shipped_dir("predictors") == tmp_path / "predictors"
    inside = Path(package / "shipped" / "predictors")
    inside.mkdir(parents=True)
    assert shipped_dir("predictors") == inside


def test_the_home_of_an_unknown_user_is_a_path_like_any_other(tmp_path):
    unknown = resolve_path("~nobody-of-this-name/a.tsv", tmp_path)
    assert unknown == tmp_path / "~nobody-of-this-name" / "a.tsv"
    assert resolve_path("~/a.tsv", tmp_path) == Path.home() / "a.tsv"
