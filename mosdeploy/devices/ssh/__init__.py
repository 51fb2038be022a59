"""A device behind SSH. Only this folder knows paramiko, whose errors end here."""

from .login import login
from .session import SSHSession

__all__ = ["SSHSession", "login"]
