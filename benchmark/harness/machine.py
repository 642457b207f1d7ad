"""The machine: what it is, what its processes use, and whether somebody else is using it."""

import hashlib
import os
import platform
import statistics
import time
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))


def facts():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as file:
        kilobytes = int(file.readline().split()[1])
    return {
        "CPU": f"{model}, {CORES} cores",
        "memory": f"{kilobytes / 2**20:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
    }


@dataclass
class Snapshot:
    """Clocks of the machine and of every process, in seconds since the boot."""

    time: float
    busy: float
    steal: float
    idle: float
    # By process id: parent, and CPU time with that of children that are gone.
    processes: dict

    @classmethod
    def take(cls):
        with open("/proc/stat") as file:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
        processes = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as file:
                        # The name may hold anything; fields are counted from its closing parenthesis.
                        fields = file.read().rpartition(")")[2].split()
                except OSError:
                    continue  # It has just ended.
                processes[int(name)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICK)
        return cls(
            time=time.monotonic(),
            busy=(user + nice + system + irq + softirq) / TICK,
            steal=steal / TICK,
            idle=(idle + iowait) / TICK,
            processes=processes,
        )

    def family(self, root):
        """The process and its descendants."""
        children = {}
        for pid, (parent, _) in self.processes.items():
            children.setdefault(parent, []).append(pid)
        found, queue = [], [root]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += children.get(pid, [])
        return found

    def cpu(self, root):
        return sum(self.processes[pid][1] for pid in self.family(root) if pid in self.processes)


KERNEL_THREADS = 2


def usage(before, after, roots):
    """CPU seconds between two snapshots by the families of `roots` (a dict of name to process id), and the share of the
    machine that was idle and that went to others. The kernel's own threads work for us."""
    used = {name: after.cpu(pid) - before.cpu(pid) for name, pid in roots.items()}
    capacity = (after.time - before.time) * CORES
    ours = sum(used.values()) + after.cpu(KERNEL_THREADS) - before.cpu(KERNEL_THREADS)
    others = max(0.0, after.busy - before.busy - ours) + after.steal - before.steal
    return {
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in used.items()},
        "idle": round((after.idle - before.idle) / capacity, 3),
        "others": round(others / capacity, 3),
    }


def peak_memory_mb(root):
    """Resident memory at its highest, all processes of the family together."""
    kilobytes = 0
    for pid in Snapshot.take().family(root):
        try:
            with open(f"/proc/{pid}/status") as file:
                kilobytes += next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), 0)
        except OSError:
            pass
    return round(kilobytes / 1024, 1)


def settle(patience=10):
    """Waits until the machine is idle, within reason."""
    deadline = time.monotonic() + patience
    while True:
        before = Snapshot.take()
        time.sleep(0.3)
        if usage(before, Snapshot.take(), {})["idle"] > 0.93 or time.monotonic() > deadline:
            return


def calibrate(folder):
    """How fast the machine is at this moment: a fixed piece of work in milliseconds, the best of several; and how long the
    disk takes to make 8 KB durable, in microseconds, the median."""
    work = bytes(2**21)
    cpu = []
    for _ in range(5):
        start = time.perf_counter()
        hashlib.sha256(work).digest()
        cpu.append(time.perf_counter() - start)
    sync = []
    path = os.path.join(folder, "calibration")
    with open(path, "wb", buffering=0) as file:
        for _ in range(60):
            start = time.perf_counter()
            file.seek(0)
            file.write(bytes(8192))
            os.fdatasync(file.fileno())
            sync.append(time.perf_counter() - start)
    os.unlink(path)
    return {"cpu_ms": round(min(cpu) * 1000, 3), "sync_us": round(statistics.median(sync) * 1e6)}
