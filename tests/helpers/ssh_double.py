"""A small SSH server over paramiko: commands run by `sh`, SFTP on the real file system."""

import contextlib
import os
import socket
import subprocess
import threading
from pathlib import Path

import paramiko


class Server(paramiko.ServerInterface):
    def __init__(self, allowed, environment):
        self.allowed = allowed
        self.environment = environment

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL if key in self.allowed else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username):
        return "publickey"

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=self.execute, args=(channel, command), daemon=True).start()
        return True

    def execute(self, channel, command):
        process = subprocess.Popen(
            [self.environment.get("SHELL", "sh"), "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd=self.environment["HOME"],
            start_new_session=True,
        )
        pumps = [
            threading.Thread(target=self.pump, args=(process.stdout, channel.sendall), daemon=True),
            threading.Thread(
                target=self.pump, args=(process.stderr, channel.sendall_stderr), daemon=True
            ),
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        with contextlib.suppress(OSError, EOFError):
            if process.wait() >= 0:  # a signal is no exit status
                channel.send_exit_status(process.returncode)
            channel.close()

    def pump(self, source, send):
        with source, contextlib.suppress(OSError, EOFError):
            while data := source.read1():
                send(data)


class Handle(paramiko.SFTPHandle):
    num_written = 0
    num_reads = 0

    def write(self, offset, data):
        Handle.num_written += len(data)
        return super().write(offset, data)

    def read(self, offset, length):
        Handle.num_reads += 1
        return super().read(offset, length)


class Files(paramiko.SFTPServerInterface):
    def _try(self, action):
        try:
            return action() or paramiko.SFTP_OK
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def stat(self, path):
        return self._try(lambda: paramiko.SFTPAttributes.from_stat(Path(path).stat()))

    def mkdir(self, path, attr):
        return self._try(lambda: Path(path).mkdir())

    def remove(self, path):
        return self._try(lambda: Path(path).unlink())

    def posix_rename(self, oldpath, newpath):
        return self._try(lambda: Path(oldpath).replace(newpath) and None)

    def open(self, path, flags, attr):
        def action():
            handle = Handle(flags)
            mode = (
                "rb"
                if not flags & (os.O_WRONLY | os.O_RDWR)
                else "wb"
                if flags & os.O_TRUNC
                else "r+b"
            )
            handle.readfile = handle.writefile = Path(path).open(mode)  # noqa: SIM115
            return handle

        return self._try(action)


class SSHDouble:
    """Serves on a free port until closed; `cut` drops every connection."""

    def __init__(self, home, allowed_keys):
        self.host_key = paramiko.ECDSAKey.generate()
        self.more_keys = []
        keys = ("PATH", "MOSDEPLOY_MACHINE_LOCK")
        self.environment = {"HOME": str(home), **{key: os.environ[key] for key in keys}}
        self.allowed = allowed_keys
        self.transports = []
        self.num_logins = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def num_written(self):
        return Handle.num_written

    @property
    def num_reads(self):
        return Handle.num_reads

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.socket.accept()
                self.num_logins += 1
                transport = paramiko.Transport(link)
                for key in (self.host_key, *self.more_keys):
                    transport.add_server_key(key)
                transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
                self.transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(
                        server=Server(self.allowed, self.environment), event=threading.Event()
                    )

    def cut(self):
        for transport in self.transports:
            transport.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self.socket.close()
        self.cut()
