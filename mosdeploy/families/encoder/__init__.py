"""Encoders: BERT-like networks that classify, tag, score or embed a text."""

from ...family import Family, deferred

FAMILY = Family(
    name="encoder",
    load_data=deferred(__name__, "examples:load_data"),
    train_tokenizer=deferred(__name__, "tokenizer:train_tokenizer"),
    load_tokenizer=deferred(__name__, "tokenizer:EncoderTokenizer"),
    tokenize=deferred(__name__, "dataset:tokenize"),
    open_dataset=deferred(__name__, "dataset:EncoderDataset.open"),
    made_up_dataset=deferred(__name__, "dataset:made_up_dataset"),
    fresh_supernet=deferred(__name__, "elastic:fresh_supernet"),
    fresh_subnet=deferred(__name__, "elastic:fresh_subnet"),
    open_teacher=deferred(__name__, "teacher:open_teacher"),
    serve_task=deferred(__name__, "elastic:serve_task"),
    scored_examples=deferred(__name__, "scoring:scored_examples"),
    build_graph=deferred(__name__, "onnx_graph:build_graph"),
    graph_options=deferred(__name__, "bundle:graph_options"),
    bundle_settings=deferred(__name__, "bundle:bundle_settings"),
    bundle_readme=deferred(__name__, "bundle:bundle_readme"),
    build_tvm=None,
    trim_vocabulary=deferred(__name__, "tokenizer:trim_to_examples"),
    formats={
        "optimum": deferred(__name__, "formats:write_optimum"),
        "hf": deferred(__name__, "formats:write_hf"),
    },
    open_bundle=deferred(__name__, "bundle:open_bundle"),
    describe_page=deferred(__name__, "bundle:describe_page"),
    plan_run=deferred(__name__, "plan:plan_run"),
    check_checkpoint=deferred(__name__, "teacher:check_checkpoint"),
)
