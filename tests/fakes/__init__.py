"""Engines that are real engines with a script: instant, deterministic, without a model."""
