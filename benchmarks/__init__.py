"""What `make bench` runs: each figure beside something that it is to be compared with, in the same run."""
