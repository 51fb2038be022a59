from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder

from mosdeploy.errors import ConfigError
from mosdeploy.pipeline.demo import demo


def test_a_folder_of_another_demo_is_refused(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "demo", "classification")
    before = sorted(root.rglob("*"))
    with pytest.raises(ConfigError, match="the demo tiny is one of 'translation'; choose another"):
        demo(root, "tiny")
    assert sorted(root.rglob("*")) == before
