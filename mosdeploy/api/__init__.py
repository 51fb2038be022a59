"""What Python programs use: a run folder with the verbs as methods.

In: the folder of a `mosdeploy.toml`. Out: the same records that `--json` prints. All names that
programs may rely on are in `mosdeploy.__all__`; everything else is internal and may change.
"""

from pathlib import Path

from ..pipeline.context import SSH_CONFIG, Context, Progress, SilentProgress
from ..pipeline.run import open_run as _open_run
from .charts import front_chart
from .run_folder import RunFolder

__all__ = ["RunFolder", "front_chart", "init", "open_run"]


def init(root: str | Path, recipe: str = "tiny", device: str | None = None) -> RunFolder:
    """Write a commented `mosdeploy.toml` into a folder, and open it.

    Raises
    ------
    ConfigError
        If the recipe or the device is unknown, or the folder has a run file already.

    Examples
    --------
    >>> import tempfile
    >>> run = init(tempfile.mkdtemp(), device="local")
    >>> run.config.vocab_size
    1000
    """
    from ..pipeline.init import init as write

    write(Path(root), recipe, device)
    return open_run(root)


def open_run(
    root: str | Path = ".",
    *,
    progress: Progress | None = None,
    ssh_config: str | Path = SSH_CONFIG,
) -> RunFolder:
    """Open the folder of a `mosdeploy.toml`.

    Parameters
    ----------
    progress
        Told how far a verb is; None tells nobody.
    ssh_config
        Holds the aliases of devices.

    Raises
    ------
    ConfigError
        If there is no `mosdeploy.toml`, or it is wrong.
    """
    run = _open_run(Path(root))
    return RunFolder(Context(run, progress or SilentProgress(), Path(ssh_config)))
