"""The network: a supernet that generates weights for every architecture of a space, the layers that
all families build on, and files of weights.
"""
