"""How good a candidate is: its loss on a few validation examples.

In: subnets and validation examples. Out: losses, which are stopped early where an incumbent is
clearly better (`racing`, `proxy`), shared out among processes (`distributed`), kept on disk
(`cache`), and predicted from those of other subnets (`predictor`). This package searches nothing.
"""
