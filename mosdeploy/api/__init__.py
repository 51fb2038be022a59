"""What Python programs use: a run folder with the verbs as methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..run_folder.context import SSH_CONFIG, Context, Progress
from ..run_folder.options import InitOptions
from ..run_folder.run import open_run as _open_run
from ..run_folder.summaries import NewRun
from .arguments import checked
from .notebook import compare_chart, default_progress, front_chart
from .run_folder import RunFolder

__all__ = ["RunFolder", "compare_chart", "front_chart", "init", "open_run"]


@checked
def init(
    root: str | Path,
    recipe: str | None = None,
    device: str | None = None,
    *,
    train: str | Path | Sequence[str | Path] | None = None,
    time: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    family: str | None = None,
    checkpoint: str | Path | None = None,
    size: str | None = None,
    languages: tuple[str, str] | None = None,
    text: str | None = None,
    label: str | None = None,
    num_winners: int | None = None,
) -> RunFolder:
    """Write a commented `mosdeploy.toml` into a folder, and open it.

    Parameters
    ----------
    recipe
        A shipped one; None takes `tiny`, or makes the run file for your data.
    train
        Your data, for which the run file is then made, in place of a recipe: two files of parallel
        text or one `.tsv`; or, with `checkpoint`, a file of labelled texts.
    time
        For all training of the walk, on this machine: `30m`, `2h`.
    settings
        Values of keys of the run file, by `section.key`, that differ from what the recipe has or
        the data suggest.
    progress
        As `open_run` takes it; told also what was found in the data, and how long each verb will
        take.
    valid, test, family, checkpoint, size, languages, text, label, num_winners
        As in `mosdeploy.run_folder.options.InitOptions`; None takes its default.

    Raises
    ------
    ConfigError
        If the recipe or the device is unknown, the data or a setting is wrong, the folder has a run
        file already, a recipe is given beside data, or what is about data without any.

    Examples
    --------
    >>> import tempfile
    >>> run = init(tempfile.mkdtemp(), device="local", settings={"workload.beam": 4})
    >>> run.config.vocab_size, run.config.workload.beam
    (4000, 4)
    """
    from ..pipeline.init import init as write

    told = progress or default_progress()
    options = InitOptions(
        train=train,
        valid=valid,
        test=test,
        family=family,
        checkpoint=checkpoint,
        size=size,
        time=time,
        languages=languages,
        text=text,
        label=label,
        num_winners=1 if num_winners is None else num_winners,
        settings=settings or {},
    )
    new = write(Path(root), recipe, device, options, told)
    if isinstance(new, NewRun):
        for name, fact in new.found.items():
            told.say(f"{name}: {fact}")
        notes = new.estimate.notes
        for verb, expected in new.estimate.expected.items():
            told.say(f"{verb}: {expected}{f' ({notes[verb]})' if verb in notes else ''}")
        told.say(new.estimate.total)
    return open_run(root, progress=told)


@checked
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
        Told how far a verb is, by its methods `update(stage, done, total, note="")` and
        `say(message)`. None shows it in a notebook, a line for each stage, and tells nobody
        elsewhere.
    ssh_config
        Holds the aliases of devices.

    Raises
    ------
    ConfigError
        If there is no `mosdeploy.toml`, or it is wrong.
    """
    run = _open_run(Path(root))
    return RunFolder(Context(run, progress or default_progress(), Path(ssh_config)))
