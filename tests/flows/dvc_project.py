"""Stages of a DVC project that knows nothing of physicnet."""

STAGES = {
    "make": {"cmd": "cp raw made", "deps": ["raw"], "outs": ["made"]},
    "side": {"cmd": "cp raw aside", "deps": ["raw"], "outs": ["aside"]},
    "score": {
        "cmd": "echo measuring && cat made aside > metrics.json",
        "deps": ["made", "aside"],
        "params": ["score"],
        "metrics": [{"metrics.json": {"cache": False}}],
    },
}
