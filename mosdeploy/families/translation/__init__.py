"""Translation: an encoder-decoder from sentences to sentences."""

from ...family import Family, deferred

FAMILY = Family(
    name="translation",
    load_data=deferred(__name__, "corpus:load_data"),
    train_tokenizer=deferred(__name__, "tokenizer:train_corpus_tokenizer"),
    load_tokenizer=deferred(__name__, "tokenizer:Tokenizer"),
    tokenize=deferred(__name__, "dataset:tokenize_pairs"),
    open_dataset=deferred(__name__, "dataset:TranslationDataset.open"),
    made_up_dataset=deferred(__name__, "dataset:made_up_pairs"),
    fresh_supernet=deferred(__name__, "elastic:fresh_supernet"),
    fresh_subnet=deferred(__name__, "elastic:fresh_subnet"),
    open_teacher=None,
    serve_task=None,
    scored_examples=deferred(__name__, "scoring:scored_examples"),
    build_graph=deferred(__name__, "onnx_graph:build_graph"),
    graph_options=deferred(__name__, "shortlist:graph_options"),
    bundle_settings=deferred(__name__, "bundle:bundle_settings"),
    bundle_readme=deferred(__name__, "bundle:bundle_readme"),
    build_tvm=deferred(__name__, "tvm:build_tvm"),
    trim_vocabulary=None,
    formats={},
    open_bundle=deferred(__name__, "bundle:open_bundle"),
    describe_page=deferred(__name__, "bundle:describe_page"),
    distill=deferred(__name__, "teacher:distill"),
    plan_run=deferred(__name__, "plan:plan_run"),
)
