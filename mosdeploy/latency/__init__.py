"""Latency: which subnets to measure, what was measured, and a predictor of all others.

In: a `ModelSpec`, and measurements of some subnets on a device. Out: `LatencyDataset` and
`LatencyPredictor`. This room measures nothing itself and searches nothing.
"""
