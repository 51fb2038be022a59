"""Regression on few samples: what the latency and the quality predictor share."""
