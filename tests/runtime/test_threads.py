import os

import pytest

from fauxface.threads import available_cores


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


QUOTAS = [
    ({}, 8),
    ({"cpu.max": "max 100000\n"}, 8),
    ({"cpu.max": "200000 100000\n"}, 2),
    ({"cpu.max": "150000 100000\n"}, 2),
    ({"cpu.max": "10000 100000\n"}, 1),
    ({"cpu.max": "1600000 100000\n"}, 8),
    ({"cpu.max": ""}, 8),
    ({"cpu.max": "what is this\n"}, 8),
    ({"cpu.max": "100000 0\n"}, 8),
    ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ({"cpu/cpu.cfs_quota_us": "300000\n"}, 8),
]


@pytest.mark.parametrize(("files", "cores"), QUOTAS, ids=lambda value: str(value)[:60])
def test_quota_bounds_the_cores(tmp_path, eight_cores, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path, tmp_path / "none") == cores


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/a.slice/b.service\n", {"a.slice/b.service/cpu.max": "300000 100000"}, 3),
        ("0::/a.slice/b.service\n", {"a.slice/cpu.max": "200000 100000", "cpu.max": "max 100000"}, 2),
        ("0::/a.slice/b.service\n", {"other.slice/cpu.max": "200000 100000"}, 8),
        ("0::/../../a\n", {"a/cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/box\n1:name=x:/y\n", {"cpu/box/cpu.cfs_quota_us": "400000"}, 4),
        ("4:cpuset:/box\n", {"cpu/box/cpu.cfs_quota_us": "400000"}, 8),
        ("nonsense\n", {"cpu.max": "500000 100000"}, 5),
    ],
    ids=["own", "above", "another's", "outside", "v1", "v1 of another controller", "nonsense"],
)
def test_quotas_of_nested_cgroups_count(tmp_path, eight_cores, membership, files, cores):
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.name == "cpu.cfs_quota_us":
            (path.parent / "cpu.cfs_period_us").write_text("100000")
    assert available_cores(tmp_path, tmp_path / "membership") == cores


def test_affinity_bounds_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    assert available_cores(tmp_path, tmp_path / "none") == 1


@pytest.mark.parametrize(("count", "cores"), [(6, 6), (None, 1)])
def test_without_affinity_the_machine_counts(tmp_path, monkeypatch, count, cores):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert available_cores(tmp_path, tmp_path / "none") == cores


def test_this_machine_has_a_core():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
