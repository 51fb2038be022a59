"""Reach a device, find out what it is, time models on it, and deploy bundles there.

Enter at `connect.open_session`, which opens a `Session` for a profile. `measure.collect` times many
models on one device, `fleet.measure_fleet` on several at once, and `deploy.deploy` puts a bundle
there. What is copied to a device and runs on it lies in `on_device/`; only `ssh/` knows paramiko.
"""
