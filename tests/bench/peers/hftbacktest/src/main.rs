//! hftbacktest's L2 books over a stream of level updates: rows (ts, 0, symbol*2 + side, 0, price tick, new quantity).
//! The digest folds, after each update, the best bid and the best ask with their quantities, and at the end all
//! levels from the best outwards. Usage: peer UPDATES SYMBOLS PASSES LOW HIGH (the range of ticks).

use hftbacktest::depth::{BTreeMarketDepth, HashMapMarketDepth, L2MarketDepth, MarketDepth, ROIVectorMarketDepth};
use peer_common::{Row, cpu_ns, curve, fold, ns_per_tick, read_rows, ticks};

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn update<D: L2MarketDepth>(book: &mut D, row: &Row) {
    let (price, qty) = (row[4] as f64, row[5] as f64);
    if row[2] & 1 == 0 {
        book.update_bid_depth(price, qty, row[0]);
    } else {
        book.update_ask_depth(price, qty, row[0]);
    }
}

fn best<D: MarketDepth>(book: &D) -> [i64; 4] {
    let (bid, ask) = (book.best_bid_tick(), book.best_ask_tick());
    // No best bid is -1 here, no best ask i64::MAX, whatever the book calls them; an empty side has no quantity.
    let bid_qty = if bid == i64::MIN { 0 } else { book.best_bid_qty() as i64 };
    let ask_qty = if ask == i64::MAX { 0 } else { book.best_ask_qty() as i64 };
    [bid.max(-1), bid_qty, ask, ask_qty]
}

fn digest<D: L2MarketDepth + MarketDepth>(books: &mut [D], rows: &[Row], low: i64, high: i64) -> (u64, u64) {
    let mut tops = BASIS;
    for row in rows {
        let book = &mut books[(row[2] >> 1) as usize];
        update(book, row);
        tops = best(book).iter().fold(tops, |h, x| fold(h, *x));
    }
    let mut all = BASIS;
    for book in books.iter() {
        for price in (low..=high).rev() {
            let qty = book.bid_qty_at_tick(price) as i64;
            if qty != 0 {
                all = fold(fold(all, price), qty);
            }
        }
        for price in low..=high {
            let qty = book.ask_qty_at_tick(price) as i64;
            if qty != 0 {
                all = fold(fold(all, price), qty);
            }
        }
    }
    (tops, all)
}

fn measure<D: L2MarketDepth + MarketDepth>(
    name: &str,
    rows: &[Row],
    passes: usize,
    (low, high): (i64, i64),
    fresh: impl Fn() -> Vec<D>,
) -> String {
    let mut means = Vec::new();
    for _ in 0..passes {
        let mut books = fresh();
        let began = cpu_ns();
        for row in rows {
            update(&mut books[(row[2] >> 1) as usize], row);
        }
        means.push((cpu_ns() - began) as f64 / rows.len() as f64);
    }
    means.sort_by(f64::total_cmp);
    let mut books = fresh();
    let mut latencies = vec![0u64; rows.len()];
    let mut before = ticks();
    for (row, slot) in rows.iter().zip(&mut latencies) {
        update(&mut books[(row[2] >> 1) as usize], row);
        let after = ticks();
        *slot = after - before;
        before = after;
    }
    let (tops, all) = digest(&mut fresh(), rows, low, high);
    let ns = ns_per_tick();
    let curve = curve(&mut latencies, ns);
    format!(
        "\"{name}\":{{\"events\":{},\"tophash\":\"{tops:016x}\",\"levelhash\":\"{all:016x}\",\"mean_ns\":{:.2},\
         \"median_mean_ns\":{:.2},\"max_ns\":{:.0},\"curve\":[{curve}]}}",
        rows.len(),
        means[0],
        means[means.len() / 2],
        latencies[latencies.len() - 1] as f64 * ns
    )
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rows = read_rows(&args[1]);
    let number = |n: usize| -> i64 { args[n].parse().expect("a whole number") };
    let (symbols, passes, range) = (number(2) as usize, number(3) as usize, (number(4), number(5)));
    let (low, high) = (range.0 as f64, range.1 as f64);
    let hash = measure("hashmap", &rows, passes, range, || {
        (0..symbols).map(|_| HashMapMarketDepth::new(1.0, 1.0)).collect()
    });
    let tree = measure("btree", &rows, passes, range, || {
        (0..symbols).map(|_| BTreeMarketDepth::new(1.0, 1.0)).collect()
    });
    let vector = measure("vector", &rows, passes, range, || {
        (0..symbols).map(|_| ROIVectorMarketDepth::new(1.0, 1.0, low, high)).collect()
    });
    println!("{{{hash},{tree},{vector}}}");
}
