"""What the user writes: the sections of `mosdeploy.toml`, and device profiles."""
