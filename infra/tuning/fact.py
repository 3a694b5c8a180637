"""The pyinfra fact behind a plan: a host's topology, read by one script in one round trip."""

from collections.abc import Iterable
from typing import override

from pyinfra.api.facts import FactBase

from infra.tuning import plan, topology
from infra.tuning.rows import NOISY_TIMERS


class HostTopology(FactBase[topology.Topology]):
    """`host.get_fact(HostTopology)` gives infra.tuning.topology.Topology."""

    @override
    def command(self) -> str:
        return topology.probe(plan.paths_of_interest(), NOISY_TIMERS)

    @override
    def process(self, output: Iterable[str]) -> topology.Topology:
        return topology.parse("\n".join(output))
