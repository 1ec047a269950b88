"""Forecasts that were made, beside what was observed after them, and observations beside those of training."""
