"""The dashboard's tests: pure figures from frames, and the whole page over a fake serving layer."""
