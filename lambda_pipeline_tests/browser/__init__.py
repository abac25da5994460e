"""A real Chromium on the real page."""
