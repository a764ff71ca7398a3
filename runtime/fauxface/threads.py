"""How many cores this process may really use."""

import math
import os
from contextlib import suppress
from pathlib import Path


def available_cores(
    cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the number of cores that the affinity mask and the cgroup quotas leave to this process.

    More threads than that make inference several times slower, since they wait for each other.

    Args:
        cgroup_root: Where the cgroup file system is mounted; other roots serve tests.
        membership: The file that names this process's cgroups.

    Returns:
        At least 1. A fractional quota is rounded up.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota_v2(folder) for folder in _levels(cgroup_root, membership, "")]
    quotas += [_quota_v1(folder) for folder in _levels(cgroup_root / "cpu", membership, "cpu")]
    return max(1, min([affinity, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def _levels(root: Path, membership: Path, controller: str) -> list[Path]:
    """Return this process's cgroup and all above it, up to the root; a container may see the root alone."""
    inside = ""
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            if controller in controllers.split(","):
                inside = path.strip("/")
    parts = [part for part in inside.split("/") if part and part != ".."]
    return [root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _quota_v2(folder: Path) -> float | None:
    """Return the CPU quota in cores, or None."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    """Return the CPU quota in cores, or None."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
