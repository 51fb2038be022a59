"""An emulated aarch64 board: a Debian root that qemu runs, with OpenSSH's server in it on a
loopback port.

It has the instructions of a Raspberry Pi 4 (Cortex-A72), a Python without packages, and another one
with the runtime. The root is unpacked once, from Debian packages and wheels, and kept in the user's
cache folder. A board mounts it read-only; what is written on the board is gone with it.
"""

import fcntl
import hashlib
import inspect
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paramiko
import platformdirs
from openssh import SSHClientFiles

SUITE = "trixie"
PACKAGES = "base-files,bash,coreutils,dash,libstdc++6,openssh-server,python3-venv"
WHEELS = ("numpy", "onnxruntime", "sentencepiece", "apache-tvm>=0.27", "apache-tvm-ffi<0.1.15")
LONE_WHEELS = ("tokenizers",)
"""Those that run without what they ask for: huggingface_hub, which fetches files."""

PLATFORMS = (
    "manylinux_2_28_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)
RUNTIME_PYTHON = "/opt/runtime/bin/python"
"""The Python on the board that has the runtime; `python3` there has no packages."""

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "QEMU_CPU": "cortex-a72"}
BINFMT = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
PROGRAMS = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux"}
USERS = (
    "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n"
    "tester:x:1000:1000::/home/tester:/bin/sh\n"
)
GROUPS = "root:x:0:\ntester:x:1000:\nnogroup:x:65534:\n"
SSHD_CONFIG = """
HostKey /run/board/host_key
AuthorizedKeysFile /run/board/authorized
PidFile none
StrictModes no
UsePAM no
PerSourcePenalties no
Subsystem sftp internal-sftp
SetEnv QEMU_CPU=cortex-a72
"""
ENTER = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
for folder in tmp run; do mount -t tmpfs tmpfs "$1/$folder"; done
mount -t tmpfs -o uid=1000,gid=1000,mode=755 tmpfs "$1/home/tester"
mkdir "$1/run/sshd" "$1/run/board"
cp "$2"/* "$1/run/board"
exec chroot "$1" /usr/sbin/sshd -D -e -f /run/board/config
"""


def obstacle() -> str | None:
    """Why there can be no board on this machine; None if there can."""
    if os.geteuid() != 0:
        return "an emulated board needs root rights, for its mounts"
    lacking = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if lacking:
        return f"not installed: {', '.join(lacking)} (apt-get install {' '.join(lacking)})"
    unshare = ["unshare", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(unshare, capture_output=True).returncode != 0:
        return "no namespaces can be made here, and an emulated board needs its own"
    if not BINFMT.exists():
        return (
            f"Linux does not run aarch64 programs here: no {BINFMT} (apt-get install qemu-user "
            f"qemu-user-binfmt; mount -t binfmt_misc binfmt_misc {BINFMT.parent}; "
            f"cat /usr/lib/binfmt.d/qemu-aarch64.conf > {BINFMT.parent}/register)"
        )
    return None


def provide_root() -> Path:
    """The root folder of the board, made when the recipe above is new; others that make it
    meanwhile are waited for.

    Raises
    ------
    NoPackagesError
        If Debian packages or wheels cannot be had.
    """
    recipe = repr((SUITE, PACKAGES, WHEELS, LONE_WHEELS, USERS, GROUPS)) + inspect.getsource(
        _make_root
    )
    cache = platformdirs.user_cache_path("mosdeploy-tests", ensure_exists=True)
    root = cache / f"aarch64-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                _make_root(Path(folder) / "root")
                (Path(folder) / "root").rename(root)
    return root


def _make_root(root: Path) -> None:
    unpack = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=extract",
        "--skip=check/qemu",
        "--architectures=arm64",
    ]
    _fetch([*unpack, f"--include={PACKAGES}", SUITE, str(root)])
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)
    (root / "etc/resolv.conf").unlink(missing_ok=True)  # a device without internet
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(
        b"".join(path.read_bytes() for path in certificates)
    )
    (root / "home/tester").mkdir()
    python = (root / "usr/bin/python3").readlink().name
    runtime = root / "opt/runtime"
    (runtime / "bin").mkdir(parents=True)
    (runtime / "bin/python").symlink_to("/usr/bin/python3")
    (runtime / "pyvenv.cfg").write_text("home = /usr/bin\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--only-binary",
        ":all:",
    ]
    platforms = [word for tag in PLATFORMS for word in ("--platform", tag)]
    target = runtime / "lib" / python / "site-packages"
    version = python.removeprefix("python")
    into = [*platforms, "--python-version", version, "--target", str(target)]
    _fetch([*pip, *into, *WHEELS])
    _fetch([*pip, *into, "--no-deps", *LONE_WHEELS])
    keep_bytecode = [
        "chroot",
        str(root),
        RUNTIME_PYTHON,
        "-c",
        "import numpy, onnxruntime, sentencepiece, tokenizers, tvm",
    ]
    subprocess.run(
        keep_bytecode, check=True, stderr=subprocess.DEVNULL, env=ENVIRONMENT, timeout=900
    )


def _fetch(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise NoPackagesError(f"{command[0]}: {done.stderr.strip()[-300:]}")


class NoPackagesError(Exception):
    """What the root is made of cannot be had: no network, most likely."""


class Board:
    """A board that is switched on, and the files with which a user reaches it as `board`."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.files = SSHClientFiles(folder / "client", alias="board")
        host_key = paramiko.ECDSAKey.generate()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        inside = folder / "board"
        inside.mkdir()
        host_key.write_private_key_file(str(inside / "host_key"))
        (inside / "authorized").write_text(
            f"{self.files.key.get_name()} {self.files.key.get_base64()}\n"
        )
        (inside / "config").write_text(f"ListenAddress 127.0.0.1:{port}{SSHD_CONFIG}")
        self.files.write(port, host_key)
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]
        self._log = (folder / "log").open("w")
        words = [*command, str(root), str(inside)]
        self._process = subprocess.Popen(words, stdout=self._log, stderr=self._log, env=ENVIRONMENT)
        self._wait(folder / "log")

    def _wait(self, log: Path) -> None:
        for _ in range(1200):
            if "listening" in log.read_text() or self._process.poll() is not None:
                break
            time.sleep(0.1)
        if "listening" not in log.read_text():
            self.close()
            raise AssertionError(f"the board did not start: {log.read_text()}")

    def close(self) -> None:
        """Switch it off: the process namespace dies with its first process, the mounts with their
        namespace.
        """
        self._process.kill()
        self._process.wait()
        self._log.close()
