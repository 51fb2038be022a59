"""Folders of sentence-transformers, as far as they say how vectors are made."""

import json
from pathlib import Path


def write_modules(
    folder: Path, pooling: object, *further: str, path: str = "1_Pooling", **flags: object
) -> None:
    """Write `modules.json` with a Transformer, a Pooling and `further` modules, and the Pooling's
    config: of a `pooling` that is None, `flags` as older versions wrote them.
    """
    kinds = ("Transformer", "Pooling", *further)
    paths = ["", path, *(f"{i}_{kind}" for i, kind in enumerate(further, 2))]
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / path).mkdir(exist_ok=True)
    said = flags if pooling is None else {"pooling_mode": pooling}
    (folder / path / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **said}))
