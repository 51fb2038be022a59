from training_fixtures import net, pairs, run, space, vocab_size

__all__ = ["net", "pairs", "run", "space", "vocab_size"]
