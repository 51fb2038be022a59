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
    state = describe.describe(tmp_path, "CUDAExecutionProvider")
    assert (state["throttled"], state["gpu"]) == ("0x50005", "TITAN Xp, 580.1, 1404 MHz")
    assert "gpu" not in describe.describe(tmp_path, "CPUExecutionProvider")


def test_versions_are_told_of_what_is_installed_and_required():
    requirements = ["numpy>=1", "not-to-be-found", f"{pytest.__name__}[cuda,x] @ https://x.org"]
    found = describe.installed_versions(requirements)
    assert found == {"numpy": np.__version__, "pytest": pytest.__version__}


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Files of a system, by their paths."""
    monkeypatch.setattr(describe, "CPUS", tmp_path)
    files = {}
    read_text = describe.read_text
    monkeypatch.setattr(describe, "read_text", lambda path: files.get(str(path)) or read_text(path))
    return files


def cpu(tmp_path, number, governor, khz):
    folder = tmp_path / f"cpu{number}" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text(f"{governor}\n")
    (folder / "scaling_cur_freq").write_text(f"{khz}\n")


def test_every_processor_that_is_online_has_a_say(tmp_path, system):
    cpu(tmp_path, 0, "performance", 1_000_000)
    cpu(tmp_path, 2, "performance", "<unknown>")
    cpu(tmp_path, 10, "powersave", 2_400_000)
    found = describe.describe_cpu()
    assert found["governor"] == "performance, powersave"
    assert found["frequencies_mhz"] == [1000.0, 2400.0]
    assert found["frequency_mhz"] == 1000.0


def test_odd_text_costs_one_figure_alone(system):
    system["/proc/cpuinfo"] = "model name : ARM\ncpu MHz : Unknown"
    system["/proc/meminfo"] = "MemTotal: 1024 kB\n\nSwapTotal: 5 kB\nHugePages_Total: many"
    found = describe.describe_cpu()
    assert (found["frequency_mhz"], found["cpu_model"]) == (None, "ARM")
    assert describe.describe_memory() == {
        "memory_bytes": 1 << 20,
        "memory_available_bytes": None,
        "swap_used_bytes": None,
    }


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a", {"a/cpu.max": "300000 100000", "cpu.max": "200000 100000"}, 2.0),
        ("0::/../other", {}, None),
        ("0::/", {"cpu.max": "odd"}, None),
        ("", {}, None),
    ],
)
def test_a_container_tells_how_many_processors_it_has(
    tmp_path, monkeypatch, system, groups, files, quota
):
    monkeypatch.setattr(describe, "CGROUPS", tmp_path)
    system["/proc/self/cgroup"] = groups or " "
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert describe.cpu_quota() == quota
