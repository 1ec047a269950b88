"""Shared by all tests: one torch thread, no telemetry, matplotlib without a display."""

import os

os.environ["MPLBACKEND"] = "Agg"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"

import torch

torch.set_num_threads(1)
