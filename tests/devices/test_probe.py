"""What a device says of itself, and what is concluded."""

import os
import platform
import sys

import numpy
import pytest

from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.device import Device
from mosdeploy.devices.probe import check, probe
from mosdeploy.errors import CommandError
from mosdeploy.records import DeviceState

GOOD = DeviceState(
    machine="aarch64",
    cores=4,
    disk_free_bytes=10**10,
    governor="performance",
    temperature_c=50.0,
    throttled="0x0",
    load_1min=0.1,
    swap_used_bytes=0,
    python_version="3.11.2",
    packages={"numpy": "2.0", "onnxruntime": "1.20", "sentencepiece": "0.2"},
)


def problems(make_profile, state=GOOD, profile=None, **changes):
    return check(state.model_copy(update=changes), profile or make_profile("ssh"))


def test_this_machine_is_probed(device):
    state = probe(device)
    assert (state.machine, state.cores) == (platform.machine(), os.cpu_count())
    assert state.python_version == platform.python_version()
    assert state.memory_bytes > state.memory_available_bytes > 0
    assert state.disk_free_bytes > 0
    assert list(state.packages) == ["numpy", "onnxruntime"]
    assert state.packages["numpy"] == numpy.__version__
    assert "CPUExecutionProvider" in state.providers
    assert not [problem for problem in check(state, device.profile) if problem.blocking]


def test_a_python_without_the_runtime_is_still_probed(make_profile, bare_python):
    profile = make_profile(python=bare_python)
    state = probe(Device(LocalSession(), profile))
    assert state.python_version == platform.python_version()
    (problem,) = [x for x in check(state, profile) if x.blocking]
    assert problem.what == "not installed: numpy, onnxruntime"
    assert problem.fix == "mosdeploy devices check dev --setup"
    (problem,) = [x for x in check(state, make_profile("ssh", host="pi2")) if x.blocking]
    assert problem.fix == "mosdeploy devices check dev@pi2 --setup"


def test_no_python_is_a_state_too(make_profile):
    profile = make_profile(python="python-nowhere")
    state = probe(Device(LocalSession(), profile))
    assert (state.python_version, state.machine) == (None, platform.machine())
    (problem,) = check(state, profile)
    assert problem.blocking
    assert "'python-nowhere' does not run" in problem.what
    assert "apt-get install python3" in problem.fix


@pytest.mark.parametrize(
    ("change", "what", "fix", "blocking"),
    [
        ({"packages": {"numpy": "2.0"}}, "not installed: onnxruntime", "check dev --setup", True),
        (
            {"packages": {"numpy": "2.0"}, "providers": ("OpenVINOExecutionProvider",)},
            *("another build of it is there", "onnxruntime-openvino", True),
        ),
        ({"provider_error": "no kernel image"}, "no kernel image", "no kernels for the GPU", True),
        ({"provider_error": "libcublas not found"}, "libcublas", "built for this device", True),
        ({"provider_error": "failed to map segment"}, "failed to map", "`work_dir`", True),
        ({"disk_free_bytes": 10**8}, "only 95.4 MiB", "df -h", False),
        ({"disk_free_bytes": 20 << 10}, "only 20 KiB", "df -h", True),
        ({"governor": "powersave"}, "powersave", "echo performance | sudo tee", False),
        ({"temperature_c": 82.4}, "82 degrees", "cool", False),
        ({"throttled": "0x50005"}, "0x50005", "power supply", False),
        ({"load_1min": 1.5}, "load 1.50 on 4 cores", "top", False),
        ({"cpu_quota": 0.5}, "leaves 0.5 of 4 processors", "--cpus", False),
        ({"swap_used_bytes": 5 * 10**6}, "4.8 MiB lie in swap", "swapoff", False),
    ],
)
def test_each_problem_comes_with_the_command_that_mends_it(
    make_profile, change, what, fix, blocking
):
    (problem,) = problems(make_profile, **change)
    assert what in problem.what
    assert fix in problem.fix
    assert problem.blocking is blocking


def test_what_the_profile_says_is_looked_at(make_profile):
    (problem,) = problems(make_profile, profile=make_profile("ssh", machine="x86_64"))
    assert "machine = 'x86_64', the device is aarch64" in problem.what
    (problem,) = problems(make_profile, profile=make_profile("ssh", emulated=True))
    assert ("emulated" in problem.what, problem.blocking) == (True, False)


# what stops at the first line, and (as 3.7 and 3.8) what would stop at what it cannot import
OLD_PYTHONS = {
    "3.6": "echo 'SyntaxError: future feature annotations is not defined' >&2; exit 1",
    "3.8": f"""exec {sys.executable} -c "import runpy, sys; sys.version_info = (3, 8, 18); \
del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')" "$@\"""",
}


@pytest.mark.parametrize("version", OLD_PYTHONS)
def test_a_python_may_be_too_old(make_profile, tmp_path, version):
    (tmp_path / "python").write_text(f"#!/bin/sh\n{OLD_PYTHONS[version]}\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(CommandError, match=r"too old, 3\.9 or later"):
        probe(Device(LocalSession(), make_profile(python=str(tmp_path / "python"))))


def test_every_requirement_of_a_profile_has_to_be_there(make_profile):
    profile = make_profile("ssh", requirements=("numpy", "apache-tvm[all]>=0.27,<0.28"))
    (problem,) = problems(make_profile, profile=profile)
    assert problem.blocking
    assert problem.what == "not installed: apache-tvm"
    assert "--setup" in problem.fix
    packages = {"numpy": "2.0", "apache-tvm": "0.27.0"}
    assert problems(make_profile, profile=profile, packages=packages) == ()


@pytest.mark.parametrize(
    ("requirement", "version", "told"),
    [
        ("tiny>=0.2.2", "0.2.10", None),
        ("tiny>=0.2.2", "0.3.0.dev1+nv", None),
        ("tiny>=0.2.2", "0.2.1", "tiny 0.2.1 (needed: >=0.2.2)"),
        ("tiny[extra]>=0.27,<0.28", "0.28.0", "tiny 0.28.0 (needed: <0.28,>=0.27)"),
        ("tiny>=0.2.2", "unknown", None),  # pip will tell
        ("tiny of mine", "1.0", None),
    ],
)
def test_a_package_that_is_too_old_is_told(make_profile, requirement, version, told):
    profile = make_profile("ssh", requirements=("tiny", requirement))
    found = problems(make_profile, profile=profile, packages={"tiny": version})
    assert [x.what.removeprefix("of another version than needed: ") for x in found] == (
        [told] if told else []
    )
    assert all(x.blocking and x.fix == "mosdeploy devices check dev --setup" for x in found)
