"""The face locator: a small network distilled from any detector in YuNet's output format."""
