"""What a device says of itself."""

import os

import numpy as np
import pytest

from mosdeploy.devices.on_device import describe


def test_throttling_and_gpu_clocks_come_from_the_device_s_tools(tmp_path, monkeypatch):
    tools = {
        "vcgencmd": "echo throttled=0x50005",
        "nvidia-smi": "echo 'TITAN Xp, 580.1, 1404 MHz'; echo second card",
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    assert describe.first_line("no-such-tool") == ""
    assert describe.first_line("false") == ""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    state = describe.describe(str(tmp_path), "CUDAExecutionProvider")
    assert (state["throttled"], state["gpu"]) == ("0x50005", "TITAN Xp, 580.1, 1404 MHz")
    assert describe.describe(str(tmp_path), "CPUExecutionProvider")["gpu"] is None


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("numpy", "numpy"),
        ("apache-tvm>=0.27,<0.28", "apache-tvm"),
        ("onnxruntime-gpu[cuda,cudnn]", "onnxruntime-gpu"),
        (" tiny_runtime @ https://example.org/x.whl", "tiny_runtime"),
    ],
)
def test_a_requirement_begins_with_its_name(requirement, name):
    assert describe.requirement_name(requirement) == name


def test_versions_are_told_of_what_is_installed_and_required():
    found = describe.installed_versions(["numpy>=1", "not-to-be-found"])
    assert found == {"numpy": np.__version__}
