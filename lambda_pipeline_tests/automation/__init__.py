"""Tests of the batch layer that need no server."""
