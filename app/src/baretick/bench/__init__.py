"""`baretick bench`: the engine over a stream of orders, beside its peers. docs/benchmark.md says how to read it."""
