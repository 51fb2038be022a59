"""The network: a supernet that generates weights for every architecture of a space, the layers that
all families build on, and files of weights.

A family brings an `ElasticNetwork`; `Supernet` wraps it. `extract` takes one architecture out.
"""
