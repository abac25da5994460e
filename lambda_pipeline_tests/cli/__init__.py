"""Tests of the command line: its commands as processes of their own, as a user starts them."""
