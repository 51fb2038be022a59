"""A real OpenSSH server on loopback, and the files with which a user reaches it."""

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import paramiko

SSHD = Path("/usr/sbin/sshd")
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
"""What Debian has as SFTP server, which the login shell starts; `internal-sftp` needs no shell."""


class SSHClientFiles:
    """A user's key, known_hosts and ssh_config with one alias."""

    def __init__(self, folder, alias="dev"):
        folder.mkdir(parents=True)
        self.alias = alias
        self.key_path = folder / "id"
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "config"
        self.key = paramiko.ECDSAKey.generate()
        self.key.write_private_key_file(str(self.key_path))

    def write(self, port, host_key=None, extra=""):
        if host_key:
            self.known_hosts.write_text(
                f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n"
            )
        self.config.write_text(
            f"Host {self.alias}\n  HostName 127.0.0.1\n  Port {port}\n  User tester\n"
            f"  IdentityFile {self.key_path}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n{extra}"
        )


class OpenSSHServer:
    """sshd on a port, its home folder, and the files with which a user reaches it."""

    def __init__(self, folder, files):
        folder.mkdir()
        self.home = folder / "home"
        self.files = files
        self.folder = folder
        self.home.mkdir()
        self.host_key = paramiko.ECDSAKey.generate()
        self.host_key.write_private_key_file(str(folder / "host_key"))
        self.process = None

    def start(self, options="PerSourcePenalties no", sftp="internal-sftp"):
        with contextlib.suppress(PermissionError):
            Path("/run/sshd").mkdir(exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (self.folder / "authorized").write_text(
            f"{self.files.key.get_name()} {self.files.key.get_base64()}\n"
        )
        (self.folder / "config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nPidFile none\nStrictModes no\n"
            f"{f'Subsystem sftp {sftp}' if sftp else ''}\n{options}\n"
            f"SetEnv HOME={self.home} MOSDEPLOY_MACHINE_LOCK=\n"
        )
        command = [str(SSHD), "-D", "-e", "-f", str(self.folder / "config")]
        self.log = (self.folder / "log").open("w")
        self.process = subprocess.Popen(command, stderr=self.log)
        for _ in range(600):
            if "listening" in (self.folder / "log").read_text():
                break
            time.sleep(0.05)
        else:
            raise AssertionError((self.folder / "log").read_text())
        self.write_files()

    def write_files(self, port=None, extra=""):
        self.files.write(port or self.port, self.host_key, extra)
        text = self.files.config.read_text()
        self.files.config.write_text(text.replace("User tester", f"User {getpass.getuser()}"))

    def kill_connections(self):
        """Kill the server's side of every connection, and not what runs on the device."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                name, rest = path.read_text().split("(", 1)[1].rsplit(")", 1)
                if name.startswith("sshd"):
                    parents[int(path.parent.name)] = int(rest.split()[1])
        ours = {self.process.pid}
        for _ in range(4):
            ours |= {pid for pid, parent in parents.items() if parent in ours}
        for pid in ours - {self.process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self):
        if self.process:
            self.kill_connections()
            self.process.kill()
            self.process.wait()
            self.log.close()
