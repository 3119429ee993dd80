"""How well maps predict where people looked: scores of every frame, baselines to compare with, tables and figures."""
