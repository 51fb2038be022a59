"""A device behind SSH. Only this folder knows paramiko, whose errors end here.

`login` opens an `SSHSession`; what an alias stands for is read in `config`.
"""

from .login import login
from .session import SSHSession

__all__ = ["SSHSession", "login"]
