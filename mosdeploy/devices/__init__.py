"""Reach a device, find out what it is, time models on it, and deploy bundles there."""
