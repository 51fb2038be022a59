from training_fixtures import pairs, space, vocab_size

__all__ = ["pairs", "space", "vocab_size"]
