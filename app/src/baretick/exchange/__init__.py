"""The exchange: the matching engine as a service, with order entry over websocket. See docs/exchange.md.

machine     ordered loads and stores, fences, and the few calls of the kernel that compiled code makes itself
ring        single-producer single-consumer ring in shared memory
loop        the matching loop: journal, execute, publish; no interpreter, no heap
place       where the memory lies: hugepages, NUMA node
core        the pinned thread that runs the loop, and what interrupts it: segments, reloads, shutdown
limits      risk limits and the symbol table: a file, as commands
delivery    events out of the ring to the sessions they belong to, and the past for those who come back
entry       what a session may send
json_form   the JSON form of commands and events
sessions    one session of order entry
gateway     the websocket server
warm        compile everything before the first client
service     start, recovery, reloads, snapshots, signals, shutdown; `main(cfg)` is the process
view        /health and /metrics
"""
