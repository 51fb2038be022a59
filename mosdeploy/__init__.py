"""mosdeploy: the best Transformer that was measured, on your device, to keep your latency budget."""

__version__ = "0.1.0"
