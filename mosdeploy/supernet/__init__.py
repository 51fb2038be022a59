"""The network: a supernet that generates weights for every architecture of a space, and its files
on disk.
"""
