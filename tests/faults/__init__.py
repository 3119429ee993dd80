"""A campaign of random faults: kills, edits between runs, damaged files. See __main__.py and docs/reliability.md."""
