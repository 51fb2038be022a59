"""Latency: which subnets to measure, what was measured, and a predictor of all others."""
