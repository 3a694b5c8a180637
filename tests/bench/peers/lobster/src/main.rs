//! lobster's order book. It has GTC limits, market orders and cancels; an IOC is a limit whose rest is cancelled.
//! It knows no amendments: the caller leaves REDUCE and REPLACE rows out of the file and says how many.
//! It does not say whether a cancel hit anything, nor list its queues.

use lobster::{FillMetadata, OrderBook, OrderEvent, OrderType, Side};
use peer_common::{Out, Peer, Resting, Row};

struct Books(Vec<OrderBook>);

fn fills(out: &mut Out, fills: &[FillMetadata]) {
    for f in fills {
        out.trades.push([f.order_1 as i64, f.order_2 as i64, f.price as i64, f.qty as i64]);
    }
}

impl Peer for Books {
    const COUNTS_REJECTS: bool = false;

    fn apply(&mut self, row: &Row, out: &mut Out) {
        let [_, op, tag, id, price, qty] = *row;
        let book = &mut self.0[(tag >> 1) as usize];
        let side = if tag & 1 == 0 { Side::Bid } else { Side::Ask };
        let (id, qty) = (id as u128, qty as u64);
        let event = match op {
            0 | 1 => book.execute(OrderType::Limit { id, side, qty, price: price as u64 }),
            2 => book.execute(OrderType::Cancel { id }),
            5 => book.execute(OrderType::Market { id, side, qty }),
            _ => panic!("op {op}: lobster has no amendments"),
        };
        match event {
            OrderEvent::PartiallyFilled { fills: f, .. } => {
                fills(out, &f);
                if op == 1 {
                    book.execute(OrderType::Cancel { id });
                }
            }
            OrderEvent::Filled { fills: f, .. } => fills(out, &f),
            OrderEvent::Placed { .. } if op == 1 => {
                book.execute(OrderType::Cancel { id });
            }
            _ => {}
        }
    }

    fn resting(&mut self) -> Resting {
        let quantity = self.0.iter().map(|b| {
            let depth = b.depth(1 << 12); // only room set aside: it lists every level
            depth.bids.iter().chain(&depth.asks).map(|l| l.qty).sum::<u64>()
        });
        Resting { orders: None, quantity: quantity.sum() }
    }
}

fn main() {
    peer_common::main(|symbols| Books((0..symbols).map(|_| OrderBook::new(1 << 17, 16, false)).collect()));
}
