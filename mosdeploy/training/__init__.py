"""From a corpus to a trained supernet, and how good its subnets are.

In: texts and config sections. Out: a tokenizer, trained weights, losses, translations and scores.
"""
