"""glibc keeps what a model gives back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from headrace.serving.execution.allocator import SWITCH, keep_memory

FAULTS = """
import resource, sys, threading
import numpy as np
from headrace.serving.execution.allocator import keep_memory

assert keep_memory({"HEADRACE_MALLOC": sys.argv[1]}) is (sys.argv[1] == "keep")

def work():
    for _ in range(20):
        np.ones(24 << 20, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(24 << 20, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, timeout=100, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_memory_is_used_again_instead_of_zeroed_anew() -> None:
    """In a thread that is not the first, a block of 24 MiB costs its page faults once, not at every use."""
    assert faults("keep") < 2000


@pytest.mark.parametrize(
    "environment", [{SWITCH: "system"}, {"MALLOC_TRIM_THRESHOLD_": "1"}, {"GLIBC_TUNABLES": "x"}, {"LD_PRELOAD": "x"}]
)
def test_what_the_user_has_set_is_left(environment: dict[str, str]) -> None:
    """By glibc's own variables, by another allocator, or by Headrace's switch."""
    assert not keep_memory(environment)
