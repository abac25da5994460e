"""Programs that run in an environment of their own (.venv-bench), because what they use conflicts with ours.

Each is started by `benchmarks.peers_run`, takes one JSON object as its argument and prints one as its result.
"""
