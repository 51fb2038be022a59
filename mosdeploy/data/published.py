"""Data sets that others publish, by name."""

from typing import Any

from ..errors import ConfigError

DATASETS = "datasets:"

_CONVERTED = "refs/convert/parquet"
"""Branch on which the hub keeps, as tables, what a script of the data set would load."""


def load_published(source: str, example: str) -> Any:
    """One split of a data set of Hugging Face: a `datasets.Dataset`."""
    path, config, split = ["", "", "", *source.removeprefix(DATASETS).rsplit("/", 2)][-3:]
    if not path:
        raise ConfigError(
            f"'{source}' is no dataset: write {DATASETS}PATH/CONFIG/SPLIT, like {example}"
        )
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"'{source}' needs Hugging Face datasets: pip install 'mosdeploy[corpora]'"
        ) from error
    try:
        try:
            return datasets.load_dataset(path, config, split=split)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            # a folder for each configuration, and nothing that names them
            return datasets.load_dataset(path, data_dir=config, split=split, revision=_CONVERTED)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"'{source}' cannot be loaded ({reason}); is the name right, and the network there? "
            "A file of your own is given by its path"
        ) from error
