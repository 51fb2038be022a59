"""The shipped run files, by name: templates of `mosdeploy.toml`."""

import importlib.resources


def list_recipes() -> list[str]:
    """Names of the shipped run files."""
    names = (entry.name for entry in importlib.resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read_recipe(name: str) -> str:
    """Text of a shipped run file."""
    return (importlib.resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
