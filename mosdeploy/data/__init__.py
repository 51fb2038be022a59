"""Examples and padded batches of them, as every training and every evaluation reads them.

A family brings a `Dataset`; which of its rows share a batch is decided here, once for all families.
"""
