"""Tests of the stream package that need no broker."""
