"""Any sequence of commands of any kind leaves the engine and a plain Python one in the same state, event by event."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from baretick.matching import snapshot
from baretick.matching.book import MatchingBook
from baretick.matching.layout import H_O_TABLE, H_TABLE, NO_ASK, NO_BID, WINDOW
from baretick.matching.records import COMMAND, EventKind, Kill, Kind, Op, Param, Scope, Stp, Trigger, words
from tests.support.oracle import Oracle

SYMBOLS, ACCOUNTS, CAPACITY, EVENTS = 2, 4, 14, 160
TICK, LOT = 5, 2  # of symbol 1

NEAR = [100, 101, 102, 103, 104, 105, 106]
# Neighbours across words and floors of the bitmaps, inside the window, at its edges and far beyond them.
FAR = [1, 63, 64, 127, 4095, 4096, 104 + WINDOW // 4, 104 + WINDOW, 104 + 3 * WINDOW, 1 << 40]
ticks = st.one_of(st.sampled_from(NEAR), st.sampled_from(NEAR), st.sampled_from(FAR))
ids = st.one_of(st.integers(1, 12), st.integers(1, 3).map(lambda i: i << 61), st.integers(-3, 0))
sides = st.integers(0, 1)
symbols = st.integers(0, SYMBOLS - 1)
qtys = st.integers(1, 12).map(lambda q: 2 * q)
accounts = st.integers(0, ACCOUNTS - 1)
kinds = st.sampled_from([Kind.GTC, Kind.GTC, Kind.GTC, *Kind])
triggers = st.sampled_from(list(Trigger)[1:])
scopes = st.sampled_from(list(Scope))


class Matching(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.book = MatchingBook(SYMBOLS, CAPACITY, EVENTS, ACCOUNTS)
        self.oracle = Oracle(SYMBOLS, ACCOUNTS, CAPACITY)
        self.seq, self.now, self.seen = 0, 1_000, []
        for param, value in ((Param.TICK, TICK), (Param.LOT, LOT)):
            self.book.admin(Op.SET, param, Scope.SYMBOL, symbol=1, value=value)
        self.oracle.symbol[1].tick, self.oracle.symbol[1].lot = TICK, LOT
        self.book.drain_array()

    def drain(self):
        for e in self.book.drain():
            if e.kind not in (EventKind.DONE, EventKind.REJECTED):
                self.seen.append((e.kind, e.reason, *e[3:7], *e[9:]))
            elif e.kind == EventKind.REJECTED:
                self.refused = e.reason

    def send(self, op, expected, ordered=True, **fields):
        """Give the engine one command, draining when it must, and compare what it says with the oracle."""
        self.seq += 1
        command = np.zeros(1, COMMAND)
        for name, value in {"seq": self.seq, "ts": self.now, "op": op, **fields}.items():
            command[name] = value
        self.refused, tries = None, 0
        while self.book.process(words(command)) == 0:
            self.drain()
            tries += 1
            assert tries < 50, "a command that waits for a drain must go on after it"
        if expected is not None or self.seq % 5 == 0:
            self.drain()
            assert self.refused == expected
            self.compare(ordered)

    def compare(self, ordered=True):
        self.drain()
        if ordered:
            assert self.seen == self.oracle.events
        else:
            assert sorted(self.seen) == sorted(self.oracle.events)
        self.seen, self.oracle.events = [], []

    def price(self, symbol, tick):
        return tick * self.oracle.symbol[symbol].tick

    @rule(
        symbol=symbols, side=sides, order_id=ids, tick=ticks, qty=qtys, account=accounts, kind=kinds,
        show=st.sampled_from([0, 0, 0, 4, 3, 2]),
    )  # fmt: skip
    def new(self, symbol, side, order_id, tick, qty, account, kind, show):
        price = 0 if kind == Kind.MARKET else self.price(symbol, tick)
        display = max(2, qty // show // 2 * 2) if show else 0
        args = (symbol, side, order_id, price, qty, account, kind)
        expected = self.oracle.new(self.now, *args, 0, 0, display)
        fields = dict(zip(("symbol", "side", "order_id", "price", "qty", "account", "kind"), args, strict=True))
        self.send(Op.NEW, expected, display=display, **fields)

    @rule(
        symbol=symbols, side=sides, order_id=ids, tick=ticks, qty=qtys, account=accounts, kind=kinds,
        trigger=triggers, stop=st.sampled_from(NEAR),
    )  # fmt: skip
    def stop_order(self, symbol, side, order_id, tick, qty, account, kind, trigger, stop):
        price = 0 if kind == Kind.MARKET else self.price(symbol, tick)
        stop = self.price(symbol, stop)
        args = (symbol, side, order_id, price, qty, account, kind)
        expected = self.oracle.new(self.now, *args, trigger, stop, 0)
        fields = dict(zip(("symbol", "side", "order_id", "price", "qty", "account", "kind"), args, strict=True))
        self.send(Op.NEW, expected, option=trigger, stop_price=stop, **fields)

    @rule(order_id=ids, account=accounts, own=st.booleans(), qty=st.one_of(st.none(), st.integers(0, 20)))
    def cancel_or_reduce(self, order_id, account, own, qty):
        account = self.owner(order_id, account, own)
        expected = self.oracle.reduce(order_id, qty, account)
        op = Op.CANCEL if qty is None else Op.REDUCE
        self.send(op, expected, order_id=order_id, account=account, qty=qty or 0)

    @rule(order_id=ids, tick=ticks, qty=qtys, account=accounts, own=st.booleans(), stop=st.sampled_from([0, 0, 104]))
    def replace(self, order_id, tick, qty, account, own, stop):
        account = self.owner(order_id, account, own)
        order = self.oracle.find(order_id)
        symbol = order.symbol if order else 0
        price = 0 if order and order.kind == Kind.MARKET else self.price(symbol, tick)
        stop = self.price(symbol, stop)
        expected = self.oracle.replace(self.now, order_id, price, qty, account, stop)
        self.send(Op.REPLACE, expected, order_id=order_id, account=account, price=price, qty=qty, stop_price=stop)

    def owner(self, order_id, account, own):
        order = self.oracle.find(order_id)
        return order.account if own and order else account

    @rule(scope=scopes, symbol=symbols, account=accounts, often=st.integers(0, 3))
    def mass_cancel(self, scope, symbol, account, often):
        if often:
            return
        self.compare()
        self.oracle.mass_cancel(scope, symbol, account)
        self.send(Op.MASS_CANCEL, None, ordered=False, option=scope, symbol=symbol, account=account)
        self.compare(ordered=False)

    @rule(state=st.sampled_from([*Kill, Kill.OFF, Kill.OFF]), scope=st.integers(0, 2), symbol=symbols, account=accounts)
    def kill(self, state, scope, symbol, account):
        if scope == Scope.ALL:
            self.oracle.killed = state
        elif scope == Scope.ACCOUNT:
            self.oracle.account[account].kill = state
        else:
            self.oracle.symbol[symbol].kill = state
        self.send(Op.KILL, None, kind=state, option=scope, symbol=symbol, account=account)

    @rule(account=accounts, mode=st.sampled_from(list(Stp)))
    def self_trade_mode(self, account, mode):
        self.set_param(Param.STP, Scope.ACCOUNT, 0, account, mode)

    @rule(
        change=st.sampled_from(
            [
                (Param.OPEN, Scope.ACCOUNT, 0), (Param.OPEN, Scope.ACCOUNT, 1), (Param.OPEN, Scope.SYMBOL, 0),
                (Param.OPEN, Scope.SYMBOL, 1), (Param.MAX_ORDER_QTY, Scope.ACCOUNT, 16),
                (Param.MAX_ORDER_QTY, Scope.SYMBOL, 20), (Param.MAX_NOTIONAL, Scope.ACCOUNT, 5_000),
                (Param.MAX_NOTIONAL, Scope.SYMBOL, 1 << 62), (Param.MAX_NOTIONAL, Scope.ACCOUNT, 1 << 62),
                (Param.MAX_POSITION, Scope.ACCOUNT, 30), (Param.MAX_POSITION, Scope.SYMBOL, 40),
                (Param.MAX_POSITION, Scope.ACCOUNT_SYMBOL, 20), (Param.MAX_POSITION, Scope.ACCOUNT, 1 << 61),
                (Param.MAX_OPEN_ORDERS, Scope.ACCOUNT, 3), (Param.MAX_OPEN_ORDERS, Scope.ACCOUNT, 1 << 30),
                (Param.RATE_INTERVAL, Scope.ACCOUNT, 50), (Param.RATE_INTERVAL, Scope.ACCOUNT, 0),
                (Param.RATE_BURST, Scope.ACCOUNT, 3), (Param.BAND_LOW, Scope.SYMBOL, 50),
                (Param.BAND_HIGH, Scope.SYMBOL, 1 << 45), (Param.BAND_HIGH, Scope.SYMBOL, 530),
                (Param.COLLAR, Scope.SYMBOL, 12), (Param.COLLAR, Scope.SYMBOL, 0),
            ]
        ),
        symbol=symbols, account=accounts,
    )  # fmt: skip
    def limits(self, change, symbol, account):
        param, scope, value = change
        self.set_param(param, scope, symbol, account, value)

    def set_param(self, param, scope, symbol, account, value):
        self.oracle.set_param(param, scope, symbol, account, value)
        self.send(Op.SET, None, kind=param, option=scope, symbol=symbol, account=account, qty=value)

    @rule(ns=st.integers(-20, 100))
    def time_passes(self, ns):
        self.now += ns

    @rule()
    def restart_from_a_snapshot(self):
        self.compare()
        saved = snapshot.save(self.book.arena)
        restored = MatchingBook.over(snapshot.restore(saved))
        assert snapshot.save(restored.arena) == saved
        self.book = restored

    @invariant()
    def same_books(self):
        if not hasattr(self, "book"):
            return
        oracle, book = self.oracle, self.book
        everything = oracle.rest + oracle.stops
        assert book.open_orders == len(everything)
        table = book.arena[book.arena[H_O_TABLE // 8] // 8 :][: book.arena[H_TABLE // 8]]
        assert (table != 0).sum() == len(everything), "the id table holds the open orders and nothing else"
        for symbol in range(SYMBOLS):
            bid, ask = oracle.touch(symbol, 0), oracle.touch(symbol, 1)
            assert bid is None or ask is None or bid < ask, "the book is crossed"
            assert book.best_bid(symbol) == (NO_BID if bid is None else bid)
            assert book.best_ask(symbol) == (NO_ASK if ask is None else ask)
            assert book.last(symbol) == oracle.symbol[symbol].last
            for side in (0, 1):
                queue = oracle.queue(symbol, side)
                prices = list(dict.fromkeys(o.price for o in queue))
                shown = [(p, sum(o.shown for o in queue if o.price == p)) for p in prices]
                assert book.levels(symbol, side) == shown
                for p in prices:
                    expected = [(o.order_id, o.shown, o.account, o.reserve) for o in queue if o.price == p]
                    assert [tuple(o) for o in book.queue(symbol, p)] == expected
            for account in range(ACCOUNTS):
                assert book.position(account, symbol) == oracle.position(account, symbol)
        for account in range(ACCOUNTS):
            assert book.account_words(account)[4] & 0xFFFFFFFF == sum(o.account == account for o in everything)

    def teardown(self):
        if hasattr(self, "book"):
            self.compare()


TestMatching = Matching.TestCase
TestMatching.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
