"""How good a candidate is: losses on validation examples, stopped early, kept, shared out,
predicted.
"""
