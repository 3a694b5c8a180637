"""A journalled engine killed at random moments, hundreds of times: no acknowledged command is lost, nothing differs.

The engine is forked from a process that has compiled everything, so that a round takes milliseconds; SIGKILL gives it
no chance to tidy up. A few rounds start the real program.
"""

import contextlib
import hashlib
import os
import random
import select
import signal
import subprocess
import sys
import traceback

import pytest

from baretick.journal import segments, snapshots
from baretick.journal.policy import Fsync
from baretick.journal.recovery import recover, replay
from baretick.journal.server import ACK, JournalledEngine, serve
from baretick.matching import digest
from tests.support.journalled import ACCOUNTS, EVENTS, ORDERS, SYMBOLS, arena, commands

ROUNDS = 300
COMMANDS = 60_000


class Forked:
    """The server in a child process."""

    def __init__(self, folder, fsync, snapshot_every):
        source, self.feed = os.pipe()
        self.acks, sink = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.feed)
                os.close(self.acks)
                serve(JournalledEngine(folder, arena, fsync, snapshot_every), source, sink)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(source)
        os.close(sink)

    def kill(self, sig=signal.SIGKILL):
        os.kill(self.pid, sig)
        return self.wait()

    def wait(self):
        os.close(self.feed)
        _, status = os.waitpid(self.pid, 0)
        return status


class Program(Forked):
    """The server as a program of its own."""

    def __init__(self, folder, fsync, snapshot_every):
        arguments = ["--folder", folder, "--symbols", SYMBOLS, "--accounts", ACCOUNTS, "--orders", ORDERS]
        arguments += ["--events", EVENTS, "--fsync", fsync.mode, "--snapshot-every", snapshot_every]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "baretick.journal.server", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.pid = self.process.pid
        self.feed, self.acks = os.dup(self.process.stdin.fileno()), os.dup(self.process.stdout.fileno())
        self.process.stdin.close()
        self.process.stdout.close()

    def wait(self):
        os.close(self.feed)
        return -self.process.wait()


class Client:
    """Feeds a stream of commands; knows what has been acknowledged."""

    def __init__(self, stream):
        self.stream = stream
        self.sent = self.acknowledged = 0

    def greet(self, server):
        """Take the first acknowledgement: where recovery ended. The next command to send is the one after it."""
        recovered, _ = ACK.unpack(read_exactly(server.acks, ACK.size))
        assert self.acknowledged <= recovered <= self.sent, "an acknowledged command is lost, or one was invented"
        self.sent = self.acknowledged = recovered
        return recovered

    def work(self, server, rng, budget):
        """Send batches of random sizes, reading what comes back, until `budget` commands are sent."""
        os.set_blocking(server.acks, False)
        until = min(len(self.stream), self.sent + budget)
        while self.sent < until:
            n = min(rng.choice((1, 1, 3, 20, 200)), until - self.sent)
            os.write(server.feed, self.stream[self.sent : self.sent + n].tobytes())
            self.sent += n
            if rng.random() < 0.5:
                self.listen(server, 0.0)

    def listen(self, server, seconds, target=None):
        """Take acknowledgements until `target` (default: everything sent) is acknowledged or nothing comes in time."""
        target = self.sent if target is None else target
        while self.acknowledged < target and select.select([server.acks], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                data = os.read(server.acks, 1 << 16)
                if not data:
                    return
                last = data[: len(data) // ACK.size * ACK.size]
                self.acknowledged = max(self.acknowledged, ACK.unpack(last[-ACK.size :])[0])


def read_exactly(fd, n):
    data = b""
    while len(data) < n:
        part = os.read(fd, n - len(data))
        assert part, "the server ended before it had recovered"
        data += part
    return data


@pytest.fixture(scope="module")
def stream():
    return commands(COMMANDS)


@pytest.fixture(scope="module")
def undisturbed(stream):
    """Digests of a run that nothing disturbed: events, then state."""
    live, seen, rows = arena(), hashlib.sha256(), stream.copy()
    rows[:, 0] = range(1, len(rows) + 1)
    replay(live, rows, seen.update)
    return seen.hexdigest(), digest.fold_state(live)


def finish(folder, client, undisturbed):
    """Feed the rest in peace, stop, and compare with the undisturbed run."""
    server = Forked(folder, Fsync("off"), 0)
    client.greet(server)
    client.work(server, random.Random(0), len(client.stream))
    client.listen(server, 30)
    assert os.waitstatus_to_exitcode(server.wait()) == 0
    os.close(server.acks)
    assert client.acknowledged == len(client.stream)
    state = recover(folder, arena)
    assert (state.next_seq, state.replayed) == (len(client.stream) + 1, 0)
    assert digest.fold_state(state.arena) == undisturbed[1]


@pytest.mark.parametrize(("policy", "rounds"), [("each", ROUNDS), ("batch:50:1", ROUNDS // 3), ("off", ROUNDS // 3)])
def test_killed_at_random_moments_it_loses_no_acknowledged_command(tmp_path, stream, undisturbed, policy, rounds):
    rng, client = random.Random(policy), Client(stream)
    for _ in range(rounds):
        server = Forked(tmp_path, Fsync.parse(policy), 700)
        client.greet(server)
        # Never to the end: every round must have something left to kill it in.
        client.work(server, rng, rng.randrange(2 * (COMMANDS - client.sent) // (rounds + 1) + 2))
        client.listen(server, 5, rng.randint(client.acknowledged, client.sent))
        server.kill()
        client.listen(server, 0)  # what it had acknowledged before it died counts
        os.close(server.acks)
    assert len(snapshots.paths(tmp_path)) == 2
    finish(tmp_path, client, undisturbed)


def test_a_whole_journal_of_a_killed_engine_replays_to_the_same_events_byte_for_byte(tmp_path, stream, undisturbed):
    rng, client = random.Random(1), Client(stream)
    for _ in range(30):
        server = Forked(tmp_path, Fsync("off"), 0)
        client.greet(server)
        client.work(server, rng, COMMANDS // 30)
        client.listen(server, 5, rng.randint(client.acknowledged, client.sent))
        server.kill()
        os.close(server.acks)
    finish(tmp_path, client, undisturbed)
    seen = hashlib.sha256()
    state = recover(tmp_path, arena, seen.update, use_snapshots=False)
    assert state.replayed == COMMANDS
    assert (seen.hexdigest(), digest.fold_state(state.arena)) == undisturbed


def test_the_program_itself_survives_sigkill_and_ends_clean_on_sigterm(tmp_path, stream):
    rng, client = random.Random(2), Client(stream[:3000])
    for n in range(3):
        server = Program(tmp_path, Fsync("each"), 500)
        client.greet(server)
        client.work(server, rng, 900)
        client.listen(server, 5 if n == 2 else 0.01)
        status = server.kill(signal.SIGTERM if n == 2 else signal.SIGKILL)
        assert status == (0 if n == 2 else signal.SIGKILL)
        client.listen(server, 0)
        os.close(server.acks)
    recovered = recover(tmp_path, arena)
    assert recovered.next_seq == client.acknowledged + 1
    assert recovered.replayed == 0, "SIGTERM leaves a snapshot of everything"


def test_the_program_names_what_is_corrupt_and_does_not_start(tmp_path):
    path = tmp_path / segments.name_of(1)
    path.write_bytes(b"\1" * 200)
    command = [sys.executable, "-m", "baretick.journal.server", "--folder", str(tmp_path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{path}: byte 0: this is no journal segment" in done.stderr
