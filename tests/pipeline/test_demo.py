from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder

from mosdeploy.errors import ConfigError
from mosdeploy.pipeline import demo as demo_module
from mosdeploy.pipeline.channels import channel_of
from mosdeploy.pipeline.demo import LIMIT_SHARES, demo
from mosdeploy.pipeline.run import open_run


def test_a_folder_of_another_demo_is_refused(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "demo", "classification")
    before = sorted(root.rglob("*"))
    with pytest.raises(ConfigError, match="the demo tiny is one of 'translation'; choose another"):
        demo(root, "tiny")
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("recipe", LIMIT_SHARES)
def test_demos_in_several_folders_share_a_place_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    monkeypatch.setattr(demo_module, "train", lambda context: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo(tmp_path / "first", recipe)
    channel = channel_of(open_run(tmp_path / "first"))
    assert (channel.name, channel.is_shared) == (f"demo-{recipe}", True)
