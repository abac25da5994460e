"""What the batch layer is measured by: backfill, steady hour, lock, memory, years, and the speed layer beside it."""
