"""The verb `train --dry-run`: what a training would cost."""

from ..records import DryRun
from .run import Progress, Run

VARIANTS: dict[str, dict[str, object]] = {
    "none": {"routing": "none"},
    "layer": {"routing": "layer", "expert_rank": None},
    "neuron": {"routing": "neuron", "expert_rank": None},
    "neuron, low rank": {"routing": "neuron", "expert_rank": 16},
}


def dry_run(run: Run, progress: Progress) -> DryRun:
    """Try what the configured training costs, beside other ways to share the weights; writes
    nothing.

    Every supernet is trained for a few updates on made-up sentences as long as the workload's.

    Raises
    ------
    ConfigError
        If a GPU is asked for and there is none, or if a sentence is longer than a batch.
    """
    from ..training.cost import training_cost

    config = run.config
    variants = {"configured": config.supernet} | {
        name: config.supernet.model_copy(update=changes) for name, changes in VARIANTS.items()
    }
    num_pieces = min(config.workload.source_len, config.corpus.max_tokens)
    costs = {}
    for done, (name, supernet) in enumerate(variants.items()):
        progress.update("dry run", done, len(variants), name)
        costs[name] = training_cost(
            config.space, config.corpus.vocab_size, supernet, config.training, num_pieces
        )
    progress.update("dry run", len(variants), len(variants))
    return DryRun(
        space_sha256=run.space_sha256,
        vocab_size=config.corpus.vocab_size,
        steps=config.training.steps,
        costs=costs,
    )
