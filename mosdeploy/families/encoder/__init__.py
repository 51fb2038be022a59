"""Encoder: a BERT-like network from texts to classes, numbers, tags or vectors.

Naming it loads neither torch nor onnx.
"""
