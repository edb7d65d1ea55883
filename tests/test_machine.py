"""Cores and memory as containers grant them; the control groups are folders made for the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rushes.machine import cores, cuda_devices, memory_bytes

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """(cgroup, proc) of a machine with 8 GiB and no limits, control groups version 2."""
    cgroup, proc = tmp_path / "cgroup", tmp_path / "proc"
    (cgroup / "pod" / "box").mkdir(parents=True)
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/pod/box\n")
    (proc / "meminfo").write_text(f"MemTotal:       {8 * GIB // 1024} kB\nMemFree:        1 kB\n")
    (cgroup / "pod" / "box" / "cpu.max").write_text("max 100000\n")
    (cgroup / "pod" / "box" / "memory.max").write_text("max\n")
    return cgroup, proc


def test_without_limits_the_machine_itself_counts(machine: tuple[Path, Path]) -> None:
    assert cores(*machine) == len(os.sched_getaffinity(0))
    assert memory_bytes(*machine) == 8 * GIB


@pytest.mark.parametrize(("quota", "want"), [("50000 100000", 1), ("100000 100000", 1), ("90000 100000", 1)])
def test_a_quota_bounds_the_cores(machine: tuple[Path, Path], quota: str, want: int) -> None:
    (machine[0] / "pod" / "box" / "cpu.max").write_text(quota)
    assert cores(*machine) == want


def test_part_of_a_core_counts_as_a_core(machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (machine[0] / "pod" / "box" / "cpu.max").write_text("250000 100000")
    assert cores(*machine) == 3


def test_a_limit_of_the_group_above_counts_too(machine: tuple[Path, Path]) -> None:
    (machine[0] / "pod" / "box" / "memory.max").write_text(str(6 * GIB))
    (machine[0] / "pod" / "memory.max").write_text(str(2 * GIB))
    assert memory_bytes(*machine) == 2 * GIB


def test_version_1_names_and_its_no_limit(machine: tuple[Path, Path]) -> None:
    cgroup, proc = machine
    (proc / "self" / "cgroup").write_text("4:memory:/box\n3:cpu,cpuacct:/box\n")
    (cgroup / "memory" / "box").mkdir(parents=True)
    (cgroup / "cpu,cpuacct" / "box").mkdir(parents=True)
    (cgroup / "memory" / "box" / "memory.limit_in_bytes").write_text("9223372036854771712")
    (cgroup / "cpu,cpuacct" / "box" / "cpu.cfs_quota_us").write_text("100000")
    (cgroup / "cpu,cpuacct" / "box" / "cpu.cfs_period_us").write_text("100000")
    assert memory_bytes(cgroup, proc) == 8 * GIB
    assert cores(cgroup, proc) == 1
    (cgroup / "memory" / "box" / "memory.limit_in_bytes").write_text(str(GIB))
    assert memory_bytes(cgroup, proc) == GIB


def test_a_path_that_the_container_hides_falls_back_to_the_mount(machine: tuple[Path, Path]) -> None:
    cgroup, proc = machine
    (proc / "self" / "cgroup").write_text("0::/kubepods/not/here\n")
    (cgroup / "memory.max").write_text(str(3 * GIB))
    assert memory_bytes(cgroup, proc) == 3 * GIB


def test_cuda_devices_are_those_of_the_variable_else_of_the_driver(machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, proc = machine
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cuda_devices(proc) == []
    for bus in ("0000:17:00.0", "0000:65:00.0"):
        (proc / "driver" / "nvidia" / "gpus" / bus).mkdir(parents=True)
    assert cuda_devices(proc) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5f")
    assert cuda_devices(proc) == ["3", "GPU-5f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cuda_devices(proc) == []
