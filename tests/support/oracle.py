"""A matching engine of plain lists and dictionaries: slow, and simple enough to be right by reading.

It knows nothing of ticks windows, tables or nodes. Its events are tuples (kind, reason, order_id, aux, price, qty,
symbol, side, account, counterparty), as docs/matching.md defines them.
"""

from dataclasses import dataclass, field

from baretick.matching.records import EventKind, Kill, Kind, Param, Reason, Scope, Stp, Trigger

K, R = EventKind, Reason
WIDE = 1 << 61


@dataclass
class Order:
    order_id: int
    symbol: int
    side: int
    account: int
    kind: int
    price: int  # 0 of a market order that waits
    shown: int
    display: int = 0
    reserve: int = 0
    trigger: int = 0
    stop: int = 0
    waits: bool = False

    @property
    def open(self):
        return self.shown + self.reserve

    def show(self, qty):
        self.shown = qty if self.display == 0 else min(self.display, qty)
        self.reserve = qty - self.shown


@dataclass
class Symbol:
    tick: int = 1
    lot: int = 1
    low: int = 0
    high: int = 1 << 48
    collar: int = 0
    last: int | None = None
    kill: int = 0
    is_open: bool = True
    max_qty: int = WIDE
    max_notional: int = 1 << 62
    max_position: int = WIDE


@dataclass
class Account:
    stp: int = Stp.EXPIRE_MAKER
    kill: int = 0
    is_open: bool = True
    max_qty: int = WIDE
    max_notional: int = 1 << 62
    max_position: int = WIDE
    max_open: int = 1 << 30
    interval: int = 0
    burst: int = 1
    tokens_full_at: int = 0


@dataclass
class Oracle:
    symbols: int
    accounts: int
    capacity: int
    rest: list = field(default_factory=list)  # oldest first, over all levels
    stops: list = field(default_factory=list)
    events: list = field(default_factory=list)
    fills: dict = field(default_factory=dict)
    limits: dict = field(default_factory=dict)  # (account, symbol) -> position limit
    killed: int = 0

    def __post_init__(self):
        self.symbol = [Symbol() for _ in range(self.symbols)]
        self.account = [Account() for _ in range(self.accounts)]
        self.account[0].stp = Stp.NONE

    # What there is.

    def find(self, order_id):
        return next((o for o in self.rest + self.stops if o.order_id == order_id), None)

    def queue(self, symbol, side):
        """Resting orders of a side, best price first, then in their place."""
        mine = [o for o in self.rest if (o.symbol, o.side) == (symbol, side)]
        return sorted(mine, key=lambda o: -o.price if side == 0 else o.price)

    def touch(self, symbol, side):
        queue = self.queue(symbol, side)
        return queue[0].price if queue else None

    def position(self, account, symbol):
        return self.fills.get((account, symbol), 0)

    def working(self, account, symbol, side):
        mine = (o for o in self.rest + self.stops if (o.account, o.symbol, o.side) == (account, symbol, side))
        return sum(o.open for o in mine)

    # What happens.

    def emit(self, kind, o, price, qty, aux=0, reason=R.NONE, counterparty=0):
        self.events.append((kind, reason, o.order_id, aux, price, qty, o.symbol, o.side, o.account, counterparty))

    def remove(self, o):
        (self.stops if o.waits else self.rest).remove(o)

    def cancel_order(self, o, reason):
        self.emit(K.CANCELLED, o, o.price, o.open, 0 if o.waits else o.shown, reason)
        self.remove(o)

    def shrink(self, o, qty, reason):
        hidden = min(o.reserve, qty)
        o.reserve -= hidden
        o.shown -= qty - hidden
        self.emit(K.REDUCED, o, o.price, qty, 0 if o.waits else qty - hidden, reason)

    def marketable(self, side, limit, price):
        return limit is None or (price <= limit if side == 0 else price >= limit)

    def crossed(self, o, limit):
        best = self.touch(o.symbol, 1 - o.side)
        return best is not None and self.marketable(o.side, limit, best)

    def match(self, taker, sent, limit, qty):
        """Returns what is left; reports the rest."""
        mode = self.account[taker.account].stp
        while qty:
            queue = self.queue(taker.symbol, 1 - taker.side)
            if not queue or not self.marketable(taker.side, limit, queue[0].price):
                break
            maker = queue[0]
            if mode and maker.account == taker.account:
                if mode == Stp.DECREMENT:
                    lost = min(qty, maker.open)
                    if lost == maker.open:
                        self.cancel_order(maker, R.SELF_TRADE)
                    else:
                        self.shrink(maker, lost, R.SELF_TRADE)
                    qty -= lost
                    self.emit(K.REDUCED if qty else K.CANCELLED, taker, sent, lost, 0, R.SELF_TRADE)
                    continue
                if mode != Stp.EXPIRE_TAKER:
                    self.cancel_order(maker, R.SELF_TRADE)
                if mode != Stp.EXPIRE_MAKER:
                    self.emit(K.CANCELLED, taker, sent, qty, 0, R.SELF_TRADE)
                    return 0
                continue
            take = min(qty, maker.shown)
            self.emit(K.TRADE, taker, maker.price, take, maker.order_id, counterparty=maker.account)
            self.symbol[taker.symbol].last = maker.price
            for who, side in ((taker, taker.side), (maker, maker.side)):
                key = (who.account, who.symbol)
                self.fills[key] = self.fills.get(key, 0) + (take if side == 0 else -take)
            qty -= take
            maker.shown -= take
            if maker.shown == 0:
                self.rest.remove(maker)
                if maker.reserve:
                    maker.show(maker.reserve)
                    self.rest.append(maker)
                    self.emit(K.RESTATED, maker, maker.price, maker.shown)
        return qty

    def enter(self, o, sent, limit, qty):
        left = self.match(o, sent, limit, qty) if self.crossed(o, limit) else qty
        if left and o.kind in (Kind.IOC, Kind.FOK, Kind.MARKET):
            self.emit(K.CANCELLED, o, sent, left, 0, R.UNFILLED)
        elif left:
            o.show(left)
            self.rest.append(o)
        return left

    def fillable(self, o, limit, qty):
        """By trying it on a copy of what matters: the quantities."""
        mode = self.account[o.account].stp
        level, hidden = None, 0
        for maker in self.queue(o.symbol, 1 - o.side):
            if not self.marketable(o.side, limit, maker.price):
                break
            if maker.price != level:
                qty -= hidden
                level, hidden = maker.price, 0
            if qty <= 0:
                return True
            if mode and maker.account == o.account:
                if mode != Stp.EXPIRE_MAKER:
                    return False
                continue
            qty -= maker.shown
            hidden += maker.reserve
            if qty <= 0:
                return True
        return qty - hidden <= 0

    def collar(self, symbol, side):
        s = self.symbol[symbol]
        if s.collar == 0 or s.last is None:
            return None
        reach = s.collar // s.tick * s.tick
        return s.last + reach if side == 0 else s.last - reach

    def set_off(self, symbol):
        while True:
            o = self.next_stop(symbol)
            if o is None:
                return
            self.stops.remove(o)
            o.waits = False
            qty, bound = o.shown, self.collar(symbol, o.side)
            limit = bound if o.kind == Kind.MARKET else o.price
            sent = 0 if o.kind == Kind.MARKET else o.price
            rests = o.kind in (Kind.GTC, Kind.POST_ONLY)
            shows = 0 if not rests else (min(o.display, qty) if o.display else qty)
            self.emit(K.TRIGGERED, o, sent, qty, shows)
            why = self.against_book(o, limit, qty, bound)
            if why:
                self.emit(K.CANCELLED, o, sent, qty, 0, why)
            else:
                self.enter(o, sent, limit, qty)

    def next_stop(self, symbol):
        watched = {
            Trigger.LAST: self.symbol[symbol].last,
            Trigger.BID: self.touch(symbol, 0),
            Trigger.ASK: self.touch(symbol, 1),
        }
        for trigger, price in watched.items():
            for side in (0, 1):
                waiting = [o for o in self.stops if (o.symbol, o.side, o.trigger) == (symbol, side, trigger)]
                if price is None or not waiting:
                    continue
                first = min(waiting, key=lambda o: o.stop if side == 0 else -o.stop)
                if price >= first.stop if side == 0 else price <= first.stop:
                    return first
        return None

    def against_book(self, o, limit, qty, bound):
        if o.kind != Kind.MARKET and bound is not None and (limit > bound if o.side == 0 else limit < bound):
            return R.COLLAR
        crossed = self.crossed(o, limit)
        if o.kind == Kind.POST_ONLY and crossed:
            return R.WOULD_TAKE
        if o.kind == Kind.FOK and not (crossed and self.fillable(o, limit, qty)):
            return R.WOULD_NOT_FILL
        return None

    # Checks.

    def gate(self, symbol, account, allowed):
        worst = max(self.killed, self.symbol[symbol].kill, self.account[account].kill)
        if worst <= allowed:
            return None
        return {Kill.HALT: R.HALTED, Kill.CANCEL_ONLY: R.CANCEL_ONLY}.get(worst, R.NO_NEW_ENTRIES)

    def quantity(self, s, qty):
        if not 0 < qty <= WIDE:
            return R.BAD_QTY
        return R.OFF_LOT if qty % s.lot else None

    def price(self, s, price):
        if abs(price) > 1 << 48:
            return R.BAD_PRICE
        if price % s.tick:
            return R.OFF_TICK
        return None if s.low <= price <= s.high else R.OUTSIDE_BAND

    def risk(self, symbol, account, side, qty, more, money, rests):
        s, a = self.symbol[symbol], self.account[account]
        if qty > min(s.max_qty, a.max_qty):
            return R.MAX_ORDER_QTY
        if abs(money) * qty > min(s.max_notional, a.max_notional):
            return R.MAX_NOTIONAL
        cap = min(s.max_position, a.max_position, self.limits.get((account, symbol), WIDE))
        signed = self.position(account, symbol) * (1 if side == 0 else -1)
        if more > 0 and signed + self.working(account, symbol, side) + more > cap:
            return R.POSITION_LIMIT
        if rests:
            if len(self.rest) + len(self.stops) >= self.capacity:
                return R.BOOK_FULL
            if sum(o.account == account for o in self.rest + self.stops) >= a.max_open:
                return R.OPEN_ORDERS
        return None

    def token(self, account, now, take):
        a = self.account[account]
        if a.interval == 0:
            return None
        full_at = max(a.tokens_full_at, now) + a.interval
        if full_at - now > a.interval * a.burst:
            return R.ORDER_RATE
        if take:
            a.tokens_full_at = full_at
        return None

    # Commands. Each returns None, or why it was refused.

    def new(self, now, symbol, side, order_id, price, qty, account, kind, trigger, stop, display):
        if symbol >= self.symbols:
            return R.UNKNOWN_SYMBOL
        if account >= self.accounts:
            return R.UNKNOWN_ACCOUNT
        s, a = self.symbol[symbol], self.account[account]
        if not s.is_open:
            return R.UNKNOWN_SYMBOL
        if not a.is_open:
            return R.UNKNOWN_ACCOUNT
        why = self.gate(symbol, account, Kill.OFF) or self.quantity(s, qty)
        if why:
            return why
        if kind == Kind.MARKET:
            if price:
                return R.BAD_PRICE
            money = s.last or 0
        else:
            why = self.price(s, price)
            if why:
                return why
            money = price
        rests = kind in (Kind.GTC, Kind.POST_ONLY)
        if display and (not 0 < display <= qty or qty // 4096 > display or not rests or display % s.lot):
            return R.BAD_DISPLAY
        if (stop and not trigger) or abs(stop) > 1 << 48 or stop % s.tick:
            return R.BAD_STOP
        if trigger and kind == Kind.MARKET:
            money = stop
        if self.find(order_id):
            return R.DUPLICATE_ID
        o = Order(order_id, symbol, side, account, kind, price, qty, display, 0, trigger, stop, bool(trigger))
        why = self.risk(symbol, account, side, qty, qty, money, rests or trigger)
        bound = self.collar(symbol, side)
        limit = bound if kind == Kind.MARKET else price
        if not why and not trigger:
            why = self.against_book(o, limit, qty, bound)
        why = why or self.token(account, now, take=True)
        if why:
            return why
        shows = 0 if trigger or not rests else (display or qty)
        self.emit(K.ACCEPTED, o, price, qty, shows)
        if trigger:
            self.stops.append(o)
        else:
            self.enter(o, price, limit, qty)
        self.set_off(symbol)
        return None

    def owned(self, order_id, account):
        o = self.find(order_id)
        return o if o and o.account == account else None

    def reduce(self, order_id, qty, account):
        """`qty` None cancels."""
        o = self.owned(order_id, account)
        if o is None:
            return R.UNKNOWN_ORDER
        why = self.gate(o.symbol, account, Kill.CANCEL_ONLY)
        if why:
            return why
        if qty is not None and qty <= 0:
            return R.BAD_QTY
        if qty is None or qty >= o.open:
            self.cancel_order(o, R.REQUESTED)
        else:
            self.shrink(o, qty, R.NONE)
        self.set_off(o.symbol)
        return None

    def replace(self, now, order_id, price, qty, account, stop):
        o = self.owned(order_id, account)
        if o is None:
            return R.UNKNOWN_ORDER
        s = self.symbol[o.symbol]
        why = self.gate(o.symbol, account, Kill.NO_NEW_ENTRIES) or self.quantity(s, qty)
        if why:
            return why
        if o.kind == Kind.MARKET:
            if price:
                return R.BAD_PRICE
            money = stop or o.stop
        else:
            why = self.price(s, price)
            if why:
                return why
            money = price
        if stop and (not o.waits or abs(stop) > 1 << 48 or stop % s.tick):
            return R.BAD_STOP
        if o.display and qty // 4096 > o.display:
            return R.BAD_DISPLAY
        why = self.risk(o.symbol, account, o.side, qty, qty - o.open, money, False)
        if not why and not o.waits:
            why = self.against_book(o, price, qty, self.collar(o.symbol, o.side))
        why = why or self.token(account, now, take=True)
        if why:
            return why
        self.emit(K.CANCELLED, o, o.price, o.open, 0 if o.waits else o.shown, R.AMENDED)
        self.remove(o)
        shows = 0 if o.waits else (min(o.display, qty) if o.display else qty)
        self.emit(K.REPLACED, o, price, qty, shows)
        o.price = price
        if o.waits:
            o.shown, o.stop = qty, stop or o.stop
            self.stops.append(o)
        else:
            self.enter(o, price, price, qty)
        self.set_off(o.symbol)
        return None

    def mass_cancel(self, scope, symbol, account):
        """In any order: the engine's own is that of its memory."""
        gone = [
            o
            for o in self.rest + self.stops
            if (not scope & Scope.ACCOUNT or o.account == account) and (not scope & Scope.SYMBOL or o.symbol == symbol)
        ]
        for o in gone:
            self.cancel_order(o, R.MASS_CANCEL)
        for s in range(self.symbols):
            self.set_off(s)
        return len(gone)

    def set_param(self, param, scope, symbol, account, value):
        """Only values and scopes that are allowed are tried here."""
        if scope == Scope.ACCOUNT_SYMBOL:
            self.limits[account, symbol] = value
            return
        target = self.account[account] if scope == Scope.ACCOUNT else self.symbol[symbol]
        name = {
            Param.OPEN: "is_open", Param.STP: "stp", Param.MAX_ORDER_QTY: "max_qty", Param.LOT: "lot",
            Param.MAX_NOTIONAL: "max_notional", Param.MAX_POSITION: "max_position", Param.MAX_OPEN_ORDERS: "max_open",
            Param.RATE_INTERVAL: "interval", Param.RATE_BURST: "burst", Param.BAND_LOW: "low",
            Param.BAND_HIGH: "high", Param.COLLAR: "collar",
        }[param]  # fmt: skip
        setattr(target, name, bool(value) if name == "is_open" else value)
