// exchange-core's Direct order book over a stream file: one JSON object on standard output.
// Usage: Peer STREAM SYMBOLS PASSES. Stream format: docs/benchmark.md.

import exchange.core2.collections.objpool.ObjectsPool;
import exchange.core2.core.common.CoreSymbolSpecification;
import exchange.core2.core.common.IOrder;
import exchange.core2.core.common.MatcherEventType;
import exchange.core2.core.common.MatcherTradeEvent;
import exchange.core2.core.common.OrderAction;
import exchange.core2.core.common.OrderType;
import exchange.core2.core.common.SymbolType;
import exchange.core2.core.common.cmd.CommandResultCode;
import exchange.core2.core.common.cmd.OrderCommand;
import exchange.core2.core.common.config.LoggingConfiguration;
import exchange.core2.core.orderbook.IOrderBook;
import exchange.core2.core.orderbook.OrderBookDirectImpl;
import exchange.core2.core.orderbook.OrderBookEventsHelper;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.stream.Stream;

public final class Peer {
    static final long BASIS = 0xcbf29ce484222325L, PRIME = 0x100000001b3L;

    static long[] rows;
    static int events;
    static long[] trades;
    static int tradeWords;
    static long rejects;
    static IOrderBook[] books;
    static OrderCommand command;
    // The engine recycles its event objects through a pool; so does this: a free list, refilled after each command.
    static MatcherTradeEvent free;

    static MatcherTradeEvent takeEvent() {
        MatcherTradeEvent event = free;
        if (event == null) return new MatcherTradeEvent();
        free = event.nextEvent;
        event.nextEvent = null;
        return event;
    }

    static long fold(long h, long x) {
        return (h ^ x) * PRIME;
    }

    static void load(String file) throws IOException {
        try (FileChannel channel = FileChannel.open(Path.of(file))) {
            long size = channel.size();
            events = (int) (size / 48);
            rows = new long[events * 6];
            ByteBuffer buffer = ByteBuffer.allocate(48 << 14).order(ByteOrder.LITTLE_ENDIAN);
            int at = 0;
            while (channel.read(buffer) > 0 || buffer.position() > 0) {
                buffer.flip();
                while (buffer.remaining() >= 8 && at < rows.length) rows[at++] = buffer.getLong();
                buffer.compact();
                if (at == rows.length) break;
            }
        }
    }

    static void fresh(int symbols) {
        // The pool sizes of the engine's own configuration.
        Map<Integer, Integer> sizes = new HashMap<>();
        sizes.put(ObjectsPool.DIRECT_ORDER, 1024 * 1024);
        sizes.put(ObjectsPool.DIRECT_BUCKET, 1024 * 64);
        sizes.put(ObjectsPool.ART_NODE_4, 1024 * 32);
        sizes.put(ObjectsPool.ART_NODE_16, 1024 * 16);
        sizes.put(ObjectsPool.ART_NODE_48, 1024 * 8);
        sizes.put(ObjectsPool.ART_NODE_256, 1024 * 4);
        ObjectsPool pool = new ObjectsPool(sizes);
        OrderBookEventsHelper helper = new OrderBookEventsHelper(Peer::takeEvent);
        books = new IOrderBook[symbols];
        for (int s = 0; s < symbols; s++) {
            CoreSymbolSpecification spec = CoreSymbolSpecification.builder()
                .symbolId(s).type(SymbolType.CURRENCY_EXCHANGE_PAIR).baseCurrency(1).quoteCurrency(2)
                .baseScaleK(1).quoteScaleK(1).takerFee(0).makerFee(0).build();
            books[s] = new OrderBookDirectImpl(spec, pool, helper, LoggingConfiguration.DEFAULT);
        }
        command = new OrderCommand();
        command.uid = 1;
        tradeWords = 0;
        rejects = 0;
    }

    static void enter(IOrderBook book, OrderType type, OrderAction action, long id, long price, long qty) {
        OrderCommand c = command;
        c.orderType = type;
        c.action = action;
        c.orderId = id;
        c.price = price;
        c.reserveBidPrice = price;
        c.size = qty;
        c.matcherEvent = null;
        book.newOrder(c);
        MatcherTradeEvent event = c.matcherEvent;
        int at = tradeWords;
        while (event != null) {
            if (event.eventType == MatcherEventType.TRADE) {
                trades[at] = id;
                trades[at + 1] = event.matchedOrderId;
                trades[at + 2] = event.price;
                trades[at + 3] = event.size;
                at += 4;
            }
            event = recycle(event);
        }
        tradeWords = at;
    }

    static MatcherTradeEvent recycle(MatcherTradeEvent event) {
        MatcherTradeEvent next = event.nextEvent;
        event.nextEvent = free;
        free = event;
        return next;
    }

    static boolean amend(IOrderBook book, boolean reduce, long id, long qty) {
        OrderCommand c = command;
        c.orderId = id;
        c.size = qty;
        c.matcherEvent = null;
        CommandResultCode code = reduce ? book.reduceOrder(c) : book.cancelOrder(c);
        for (MatcherTradeEvent event = c.matcherEvent; event != null; ) event = recycle(event);
        return code == CommandResultCode.SUCCESS;
    }

    static void apply(int i) {
        int op = (int) rows[i + 1], tag = (int) rows[i + 2];
        long id = rows[i + 3], price = rows[i + 4], qty = rows[i + 5];
        IOrderBook book = books[tag >> 1];
        OrderAction action = (tag & 1) == 0 ? OrderAction.BID : OrderAction.ASK;
        switch (op) {
            case 0 -> enter(book, OrderType.GTC, action, id, price, qty);
            case 1 -> enter(book, OrderType.IOC, action, id, price, qty);
            case 5 -> enter(book, OrderType.IOC, action, id, (tag & 1) == 0 ? 1L << 40 : 0, qty);
            case 2 -> {
                if (!amend(book, false, id, 0)) rejects++;
            }
            case 3 -> {
                if (!amend(book, true, id, qty)) rejects++;
            }
            default -> {
                if (amend(book, false, id, 0)) enter(book, OrderType.GTC, action, id, price, qty);
                else rejects++;
            }
        }
    }

    static void pass() {
        for (int i = 0; i < rows.length; i += 6) apply(i);
    }

    static void timedPass(long[] out) {
        long before = System.nanoTime();
        for (int i = 0, n = 0; i < rows.length; i += 6, n++) {
            apply(i);
            long after = System.nanoTime();
            out[n] = after - before;
            before = after;
        }
    }

    static long[] foldBook() {
        long h = BASIS, resting = 0, quantity = 0;
        for (int s = 0; s < books.length; s++) {
            for (int side = 0; side < 2; side++) {
                h = fold(h, -1 - 2L * s - side);
                Stream<? extends IOrder> stream =
                    side == 0 ? books[s].bidOrdersStream(true) : books[s].askOrdersStream(true);
                for (Iterator<? extends IOrder> it = stream.iterator(); it.hasNext(); ) {
                    IOrder order = it.next();
                    long open = order.getSize() - order.getFilled();
                    h = fold(fold(fold(h, order.getOrderId()), order.getPrice()), open);
                    resting++;
                    quantity += open;
                }
            }
        }
        return new long[] {h, resting, quantity};
    }

    public static void main(String[] args) throws IOException {
        load(args[0]);
        int symbols = Integer.parseInt(args[1]), passes = Integer.parseInt(args[2]);
        trades = new long[8 * events + 64];
        ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        double[] means = new double[passes];
        for (int k = -3; k < passes; k++) { // three passes to warm the compiler up
            fresh(symbols);
            long began = threads.getCurrentThreadCpuTime(); // what other tenants take is not counted
            pass();
            if (k >= 0) means[k] = (threads.getCurrentThreadCpuTime() - began) / (double) events;
        }
        long h = BASIS, volume = 0;
        for (int i = 0; i < tradeWords; i++) {
            h = fold(h, trades[i]);
            if ((i & 3) == 3) volume += trades[i];
        }
        long[] book = foldBook();
        long refused = rejects, traded = tradeWords / 4;
        long[] latencies = new long[events];
        for (int k = 0; k < 3; k++) {
            fresh(symbols);
            timedPass(latencies);
        }
        Arrays.sort(latencies);
        Arrays.sort(means);
        StringBuilder curve = new StringBuilder();
        for (int k = 0; k <= 56; k++) { // shares 1 - 10^(-k/8)
            int at = (int) Math.min(events - 1, Math.ceil((1 - Math.pow(10, -k / 8.0)) * events));
            curve.append(k == 0 ? "" : ",").append(latencies[at]);
        }
        System.out.printf(
            "{\"events\":%d,\"trades\":%d,\"volume\":%d,\"tradehash\":\"%016x\",\"resting\":%d,\"restqty\":%d,"
                + "\"bookhash\":\"%016x\",\"rejects\":%d,\"mean_ns\":%.2f,\"median_mean_ns\":%.2f,"
                + "\"max_ns\":%d,\"curve\":[%s]}%n",
            events, traded, volume, h, book[1], book[2], book[0], refused, means[0], means[passes / 2],
            latencies[events - 1], curve);
    }
}
