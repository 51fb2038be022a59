"""The command line as typed, in a process of its own, and a run folder that nothing ran in yet."""

import os
import subprocess
import sys
from pathlib import Path

import mosdeploy as package

SPACE = """
encoder_embed_dim = [16]
decoder_embed_dim = [16]
encoder_layers = [1]
decoder_layers = [1, 2]
encoder_ffn_dim = [16]
decoder_ffn_dim = [16]
encoder_heads = [2]
decoder_self_heads = [2]
decoder_cross_heads = [2]
qkv_dim = 16
"""

_PATHS = (Path(package.__file__).parents[1], Path(__file__).parent)
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, _PATHS))}
"""In which another process imports the package that is under test here, whatever is installed, and
these helpers.
"""

MOSDEPLOY = (sys.executable, "-c", "from mosdeploy.cli import main; main()")


def mosdeploy(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a folder, with nothing on stdin."""
    return run_python(*MOSDEPLOY[1:], *words, cwd=cwd)


def run_python(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a folder, with nothing on stdin."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=ENVIRONMENT,
        input="",
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_folder(root: Path, extra: str = "") -> Path:
    """A folder with a run file whose corpus does not exist."""
    (root / "mosdeploy.toml").write_text(f'[corpus]\ntrain = "data/train"\n[space]{SPACE}{extra}')
    return root
