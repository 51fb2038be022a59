"""A family that exists in tests alone: lines of letters, each letter answered by the next one.

It is here to show that rooms and pipeline know no family, and what a family must give: `words` for
all processes, `works` behind the callables of `FAMILY`, and the three places that `install` fills
in, which a family of the package is written into.
"""

import sys

from mosdeploy.family import Family, deferred

FAMILY = Family(
    name="cipher",
    load_data=deferred(__name__, "works:load_data"),
    train_tokenizer=deferred(__name__, "works:train_tokenizer"),
    load_tokenizer=deferred(__name__, "works:load_tokenizer"),
    tokenize=deferred(__name__, "works:tokenize"),
    open_dataset=deferred(__name__, "works:CipherDataset.open"),
    made_up_dataset=deferred(__name__, "works:made_up_dataset"),
    fresh_supernet=deferred(__name__, "network:fresh_supernet"),
    fresh_subnet=deferred(__name__, "network:fresh_subnet"),
    open_teacher=None,
    serve_task=None,
    scored_examples=deferred(__name__, "works:scored_examples"),
    build_graph=deferred(__name__, "bundle:build_graph"),
    graph_options=deferred(__name__, "bundle:graph_options"),
    bundle_settings=deferred(__name__, "bundle:bundle_settings"),
    bundle_readme=deferred(__name__, "bundle:bundle_readme"),
    build_tvm=None,
    trim_vocabulary=None,
    formats={},
    open_bundle=deferred(__name__, "bundle:CipherModel"),
    describe_page=deferred(__name__, "bundle:describe_page"),
)


def install() -> None:
    """Name the family where docs/add-a-family.md says; before any record is imported."""
    from mosdeploy import config, spaces
    from mosdeploy.runtime import manifest
    from toy_family import words

    assert "mosdeploy.records" not in sys.modules
    spaces.AnyArch = spaces.TranslationArch | words.CipherArch
    spaces.AnySpace = spaces.TranslationSpace | words.CipherSpace
    spaces.AnyWorkload = spaces.TranslationWorkload | words.CipherWorkload
    config.RUN_CONFIGS["cipher"] = words.CipherRunConfig
    manifest.TOKENIZER_NAMES["cipher"] = "tokenizer.model"
    sys.modules["mosdeploy.families.cipher"] = sys.modules[__name__]
