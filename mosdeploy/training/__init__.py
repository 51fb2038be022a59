"""Training: of a supernet by the sandwich rule, or of one subnet alone.

In: a network, batches and config sections. Out: trained weights, a state that a killed run resumes
from, and a log. `train` in `trainer.py` is the way in.
"""
