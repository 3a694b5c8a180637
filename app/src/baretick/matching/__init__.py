"""A price-time (FIFO) matching engine with its pre-trade risk checks, in compiled code over one buffer of memory.

    from baretick.matching.book import MatchingBook
    from baretick.matching.records import COMMAND, EVENT, Op, Reason, Side

`records` says what goes in and comes out; `book` is the engine behind a Python interface; `kernel` runs whole batches
of commands. This package itself imports nothing, so that who only speaks the records loads no compiler.
The whole is described in docs/matching.md.
"""
