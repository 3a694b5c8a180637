"""Any sequence of commands leaves the compiled book and a plain Python one in the same state, trade by trade."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from baretick.matching import BUY, NO_ASK, NO_BID, SELF_TRADE_CANCEL, TICKS, TRADE, MatchingBook
from baretick.matching.arena import H_O_TABLE, H_TABLE

SYMBOLS, ORDERS, EVENTS = 2, 12, 6

# Neighbours, cache-line and bitmap-floor borders, and the window's ends.
prices = st.sampled_from([0, 1, 62, 63, 64, 65, 100, 101, 102, 4095, 4096, 4097, 65535, 65536, TICKS - 2, TICKS - 1])
ids = st.one_of(st.integers(1, 20), st.integers(1, 12).map(lambda i: i << 35), st.integers(1, 12).map(lambda i: -i))
sides = st.integers(0, 1)
symbols = st.integers(0, SYMBOLS - 1)
qtys = st.integers(1, 12)
accounts = st.integers(0, 2)


class Oracle:
    """A book of lists: slow, and plain enough to be right by reading."""

    def __init__(self):
        self.rest = []  # [id, symbol, side, price, qty, account], oldest first
        self.events = []

    def find(self, order_id):
        return next((o for o in self.rest if o[0] == order_id), None)

    def makers(self, symbol, side, price):
        """Orders that one may trade against, best price first, then oldest."""
        ahead = [o for o in self.rest if o[1] == symbol and o[2] != side]
        if side == BUY:
            return sorted((o for o in ahead if o[3] <= price), key=lambda o: o[3])
        return sorted((o for o in ahead if o[3] >= price), key=lambda o: -o[3])

    def plan(self, symbol, side, order_id, price, qty, account):
        events, left = [], qty
        for maker in self.makers(symbol, side, price):
            if left == 0:
                break
            if account and maker[5] == account:
                events.append((order_id, maker[0], maker[3], maker[4], SELF_TRADE_CANCEL))
                continue
            take = min(left, maker[4])
            events.append((order_id, maker[0], maker[3], take, TRADE))
            left -= take
        return events, left

    def enter(self, symbol, side, order_id, price, qty, account, rests):
        if self.find(order_id):
            return "duplicate"
        if rests and len(self.rest) == ORDERS:
            return "full"
        events, left = self.plan(symbol, side, order_id, price, qty, account)
        if len(self.events) + len(events) > EVENTS:
            return "events"
        for event in events:
            maker = self.find(event[1])
            maker[4] -= event[3]
            if maker[4] == 0:
                self.rest.remove(maker)
        self.events += events
        if rests and left:
            self.rest.append([order_id, symbol, side, price, left, account])
        return left

    def replace(self, order_id, price, qty):
        order = self.find(order_id)
        if order is None:
            return "unknown"
        _, symbol, side, _, _, account = order
        if len(self.events) + len(self.plan(symbol, side, order_id, price, qty, account)[0]) > EVENTS:
            return "events"
        self.rest.remove(order)
        return self.enter(symbol, side, order_id, price, qty, account, True)

    def reduce(self, order_id, qty):
        order = self.find(order_id)
        if order is None:
            return "unknown"
        order[4] -= min(qty, order[4])
        if order[4] == 0:
            self.rest.remove(order)
        return order[4]


class Matching(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.book = MatchingBook(SYMBOLS, ORDERS, EVENTS)
        self.oracle = Oracle()

    def same(self, result, expected):
        named = {-1: "unknown", -2: "duplicate", -8: "full", -9: "events"}
        assert named.get(result, result) == expected

    @rule(symbol=symbols, side=sides, order_id=ids, price=prices, qty=qtys, account=accounts)
    def limit(self, symbol, side, order_id, price, qty, account):
        expected = self.oracle.enter(symbol, side, order_id, price, qty, account, True)
        self.same(self.book.limit(symbol, side, order_id, price, qty, account), expected)

    @rule(symbol=symbols, side=sides, order_id=ids, price=prices, qty=qtys, account=accounts)
    def ioc(self, symbol, side, order_id, price, qty, account):
        expected = self.oracle.enter(symbol, side, order_id, price, qty, account, False)
        self.same(self.book.ioc(symbol, side, order_id, price, qty, account), expected)

    @rule(symbol=symbols, side=sides, order_id=ids, qty=st.integers(1, 60))
    def market(self, symbol, side, order_id, qty):
        price = TICKS - 1 if side == BUY else 0
        expected = self.oracle.enter(symbol, side, order_id, price, qty, 0, False)
        self.same(self.book.market(symbol, side, order_id, qty), expected)

    @rule(order_id=ids)
    def cancel(self, order_id):
        self.same(self.book.cancel(order_id), self.oracle.reduce(order_id, 1 << 60))

    @rule(order_id=ids, qty=qtys)
    def reduce(self, order_id, qty):
        self.same(self.book.reduce(order_id, qty), self.oracle.reduce(order_id, qty))

    @rule(order_id=ids, price=prices, qty=qtys)
    def replace(self, order_id, price, qty):
        self.same(self.book.replace(order_id, price, qty), self.oracle.replace(order_id, price, qty))

    @rule()
    def drain(self):
        events = [(e.taker_id, e.maker_id, e.price, e.qty, e.kind) for e in self.book.drain()]
        assert events == self.oracle.events
        self.oracle.events = []

    @invariant()
    def books_are_equal(self):
        if not hasattr(self, "book"):
            return
        rest = self.oracle.rest
        assert self.book.resting == len(rest)
        table = self.book.arena[self.book.arena[H_O_TABLE] :][: self.book.arena[H_TABLE]]
        assert (table != 0).sum() == len(rest), "the id table holds the resting orders and nothing else"
        for symbol in range(SYMBOLS):
            bids = [o[3] for o in rest if o[1] == symbol and o[2] == BUY]
            asks = [o[3] for o in rest if o[1] == symbol and o[2] != BUY]
            assert self.book.best_bid(symbol) == max(bids, default=NO_BID)
            assert self.book.best_ask(symbol) == min(asks, default=NO_ASK)
            for price in {*bids, *asks}:
                queue = [(o[0], o[4], o[5]) for o in rest if o[1] == symbol and o[3] == price]
                assert [tuple(o) for o in self.book.queue(symbol, price)] == queue
                assert self.book.level_qty(symbol, price) == sum(q for _, q, _ in queue)


TestMatching = Matching.TestCase
TestMatching.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
