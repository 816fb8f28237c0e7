"""Makes this process like one on Windows, as a plugin of pytest: `-p tests.elsewhere`.

What Windows lacks is taken away: modules of POSIX, array_record, forks, and the calls of `os` that
say what a machine has. New processes start by spawn. The locale is for whoever starts the process.
"""

import multiprocessing
import os
import sys

MISSING = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "array_record")
CALLS = ("fork", "forkpty", "sched_getaffinity", "getuid", "geteuid", "getloadavg")


def hide():
    """Takes away what Windows lacks, for this process."""
    for name in MISSING:
        sys.modules[name] = None  # an import of it is an ImportError
    for name in CALLS:
        if hasattr(os, name):
            delattr(os, name)
    os.sysconf = _sysconf
    multiprocessing.get_all_start_methods = lambda: ["spawn"]
    multiprocessing.set_start_method("spawn", force=True)


def _sysconf(name, known=os.sysconf):
    if name == "SC_IOV_MAX":  # for Python's own subprocess
        return known(name)
    raise ValueError(f"unrecognized configuration name {name}")


def pytest_load_initial_conftests():
    """Before any conftest.py imports the package."""
    hide()
