"""The write-ahead journal of commands, snapshots of the engine, and recovery from both. See docs/journal.md.

frames      command records sealed with checksums, in compiled code
writer      frames into segment files; the fsync policy
segments    reading them back; what is torn and what is corrupt
snapshots   the whole arena in a file
recovery    newest valid snapshot + journal tail
snapshotter a snapshot made beside a running engine, by a process of its own
server      `python -m baretick.journal.server`: an engine that acknowledges commands once they are durable
"""
