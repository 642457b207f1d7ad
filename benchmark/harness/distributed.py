"""The same database distributed over the nodes of a Citus cluster (docs/distributed.md). The nodes are as plain as the other Postgres,
but for what the extension needs, and reach each other through the loopback interface."""

import subprocess
from contextlib import ExitStack, contextmanager

from . import postgres
from .postgres import PLAIN, SETTINGS, Cluster
from .process import Failed, free_port

ONE_NODE = "one node"
THREE_NODES = "three nodes"
# By layout, the nodes beside the coordinator. Without one, the coordinator has the shards.
WORKERS = {ONE_NODE: 0, THREE_NODES: 2}
# What a node has besides.
NODE_SETTINGS = {
    "shared_preload_libraries": "citus",
    "listen_addresses": "127.0.0.1",
    "citus.local_hostname": "127.0.0.1",
    # Encrypted or not, it is the same machine; plain Postgres is reached through its socket.
    "citus.node_conninfo": "sslmode=disable",
}
NO_EXTENSION = 'could not access file "citus"'


class DistributedCluster(Cluster):
    """A coordinator, which takes the statements, and workers."""

    def __init__(self, coordinator, workers):
        super().__init__(coordinator.bin_dir, coordinator.folder, coordinator.pid, coordinator.file_system, coordinator.port)
        self.workers = workers

    def roots(self):
        return {"coordinator": self.pid} | {f"worker {n}": worker.pid for n, worker in enumerate(self.workers, 1)}

    def make_templates(self, migrate, sizes):
        """As an operator converts a database: filled first, then distributed."""
        super().make_templates(migrate, sizes)
        distribute = [migrate[0], "distribute"] + ([] if self.workers else ["--on-one-node"])
        for size in sizes:
            name = postgres.template(size)
            self.add_workers(name)
            done = subprocess.run(distribute, env=self.environment(name), capture_output=True, text=True)
            if done.returncode != 0:
                raise Failed(f"customer-match distribute: {done.stderr}")
            self.psql("-c", "vacuum (analyze)", database=name)
        # The daemon of the extension is connected to each of its databases, and one with connections is not copied.
        for node in [self, *self.workers]:
            node.psql("-c", "update pg_database set datallowconn = false where datname like 'seed%'")
            node.psql("-c", "select pg_terminate_backend(pid) from pg_stat_activity where datname like 'seed%'")

    def add_workers(self, name):
        for worker in self.workers:
            worker.psql("-c", f"create database {name}")
        for node in [*self.workers, self]:
            node.psql("-c", "create extension citus", database=name)
        self.psql("-c", f"select citus_set_coordinator_host('127.0.0.1', {self.port})", database=name)
        for worker in self.workers:
            self.psql("-c", f"select citus_add_node('127.0.0.1', {worker.port})", database=name)
        if not self.workers:
            self.psql("-c", f"select citus_set_node_property('127.0.0.1', {self.port}, 'shouldhaveshards', true)", database=name)

    def reset(self, size):
        super().reset(size)
        for worker in self.workers:
            worker.reset(size)

    def drop(self):
        for node in [self, *self.workers]:
            # The daemon would connect again meanwhile.
            node.psql("-c", f"update pg_database set datallowconn = false where datname = '{postgres.RUN}'")
        super().drop()
        for worker in self.workers:
            worker.drop()


@contextmanager
def cluster(layout):
    bin_dir = postgres.programs()
    with postgres.directory() as (folder, file_system), ExitStack() as stack:
        # The directories in it are closed to others.
        folder.chmod(0o711)
        nodes = []
        for number in range(WORKERS[layout] + 1):
            port = free_port()
            within = folder / f"node-{number}"
            within.mkdir(mode=0o700)
            try:
                pid = stack.enter_context(postgres.node(bin_dir, within, SETTINGS | NODE_SETTINGS, port))
            except Failed as error:
                if NO_EXTENSION in str(error):
                    raise Failed(
                        f"the extension Citus is not installed in the Postgres of {bin_dir}; docs/distributed.md says which versions serve"
                    ) from error
                raise
            nodes.append(Cluster(bin_dir, within, pid, file_system, port))
        yield DistributedCluster(nodes[0], nodes[1:])


def open_cluster(sized, layout):
    return postgres.cluster(sized) if layout == PLAIN else cluster(layout)
