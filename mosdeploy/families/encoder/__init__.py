"""Encoder: a BERT-like network from texts to labels, numbers, tags or vectors."""
