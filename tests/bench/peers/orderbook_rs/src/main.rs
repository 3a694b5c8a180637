//! orderbook-rs over a stream file. A REDUCE is an update to a smaller quantity (which keeps priority there), a
//! REPLACE a cancel and a new order under the same id. Trades are taken from its trade listener.

use std::sync::{Arc, Mutex};

use orderbook_rs::{OrderBook, TradeResult};
use peer_common::{Out, Peer, Resting, Row};
use pricelevel::{Id, OrderUpdate, Quantity, Side, TimeInForce};

struct Books {
    books: Vec<OrderBook<()>>,
    heard: Arc<Mutex<Vec<[i64; 4]>>>,
}

fn number(id: Id) -> i64 {
    id.as_u64().expect("sequential ids only") as i64
}

fn fresh(symbols: usize) -> Books {
    let heard = Arc::new(Mutex::new(Vec::with_capacity(1 << 16)));
    let book = |s: usize| {
        let sink = heard.clone();
        let listener = move |result: &TradeResult| {
            let mut sink = sink.lock().unwrap();
            for t in result.match_result.trades().as_vec() {
                sink.push([
                    number(t.taker_order_id()),
                    number(t.maker_order_id()),
                    t.price().as_u128() as i64,
                    t.quantity().as_u64() as i64,
                ]);
            }
        };
        OrderBook::with_trade_listener(&format!("S{s}"), Arc::new(listener))
    };
    Books { books: (0..symbols).map(book).collect(), heard: heard.clone() }
}

impl Peer for Books {
    fn apply(&mut self, row: &Row, out: &mut Out) {
        let [_, op, tag, number, price, qty] = *row;
        let book = &self.books[(tag >> 1) as usize];
        let side = if tag & 1 == 0 { Side::Buy } else { Side::Sell };
        let (id, price, qty) = (Id::sequential(number as u64), price as u128, qty as u64);
        match op {
            0 => drop(book.add_limit_order(id, price, qty, side, TimeInForce::Gtc, None)),
            1 => drop(book.add_limit_order(id, price, qty, side, TimeInForce::Ioc, None)),
            5 => drop(book.submit_market_order(id, qty, side)),
            2 => out.rejects += u64::from(!matches!(book.cancel_order(id), Ok(Some(_)))),
            3 => match book.get_order(id) {
                Some(order) => {
                    let left = order.visible_quantity().as_u64().saturating_sub(qty);
                    if left == 0 {
                        drop(book.cancel_order(id));
                    } else {
                        let new_quantity = Quantity::new(left);
                        drop(book.update_order(OrderUpdate::UpdateQuantity { order_id: id, new_quantity }));
                    }
                }
                None => out.rejects += 1,
            },
            _ => match book.cancel_order(id) {
                Ok(Some(_)) => drop(book.add_limit_order(id, price, qty, side, TimeInForce::Gtc, None)),
                _ => out.rejects += 1,
            },
        }
        let mut heard = self.heard.lock().unwrap();
        if !heard.is_empty() {
            out.trades.append(&mut heard);
        }
    }

    fn resting(&mut self) -> Resting {
        // Its listing of a level is not in queue order, so there is no hash of the queues to compare.
        let orders: Vec<_> = self.books.iter().flat_map(|book| book.get_all_orders()).collect();
        let quantity = orders.iter().map(|order| order.visible_quantity().as_u64()).sum();
        Resting { orders: Some(orders.len() as u64), quantity }
    }
}

fn main() {
    peer_common::main(fresh);
}
