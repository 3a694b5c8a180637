//! What the Rust peers share: reading a stream file, timing passes over it, folding digests, printing one JSON object.
//! The stream format and the digests are described in docs/benchmark.md.

use std::fmt::Write;
use std::time::Instant;

pub type Row = [i64; 6];

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over 64-bit words.
pub fn fold(h: u64, x: i64) -> u64 {
    (h ^ x as u64).wrapping_mul(PRIME)
}

/// What a pass leaves behind besides the book itself.
pub struct Out {
    pub trades: Vec<[i64; 4]>,
    pub rejects: u64,
}

/// What rests in the end; the number of orders only where the peer can count them.
pub struct Resting {
    pub orders: Option<u64>,
    pub quantity: u64,
}

pub trait Peer {
    fn apply(&mut self, row: &Row, out: &mut Out);
    fn resting(&mut self) -> Resting;
    /// Whether the peer says that an amendment hit nothing.
    const COUNTS_REJECTS: bool = true;
}

pub fn read_rows(file: &str) -> Vec<Row> {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{file}: {e}"));
    let word = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (0..bytes.len() / 48).map(|r| std::array::from_fn(|k| word(r * 48 + k * 8))).collect()
}

#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn ticks() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// CPU time of this thread in nanoseconds: what other tenants of the machine take is not counted.
pub fn cpu_ns() -> u64 {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, out: *mut Timespec) -> i32;
    }
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `now` is a timespec of a 64-bit Linux, and outlives the call.
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.seconds as u64 * 1_000_000_000 + now.nanoseconds as u64
}

pub fn ns_per_tick() -> f64 {
    let (began, t0) = (Instant::now(), ticks());
    while began.elapsed().as_millis() < 20 {}
    let t1 = ticks();
    began.elapsed().as_nanos() as f64 / (t1 - t0) as f64
}

/// Latencies at the shares 1 - 10^(-k/8), k = 0 .. 56, as JSON; sorts its argument.
pub fn curve(latencies: &mut [u64], ns: f64) -> String {
    latencies.sort_unstable();
    let n = latencies.len();
    let at = |k: i32| (((1.0 - 10f64.powf(-k as f64 / 8.0)) * n as f64).ceil() as usize).min(n - 1);
    let values: Vec<String> = (0..=56).map(|k| format!("{:.0}", latencies[at(k)] as f64 * ns)).collect();
    values.join(",")
}

/// Run the passes that the command line asks for (STREAM SYMBOLS PASSES) and print what came of them.
pub fn main<P: Peer>(fresh: impl Fn(usize) -> P) {
    let args: Vec<String> = std::env::args().collect();
    let rows = read_rows(&args[1]);
    let (symbols, passes): (usize, usize) = (args[2].parse().unwrap(), args[3].parse().unwrap());
    let mut out = Out { trades: Vec::with_capacity(2 * rows.len() + 64), rejects: 0 };
    let mut means = Vec::new();
    let mut last = None;
    for _ in 0..passes {
        drop(last.take());
        let mut book = fresh(symbols);
        out.trades.clear();
        out.rejects = 0;
        let began = cpu_ns();
        for row in &rows {
            book.apply(row, &mut out);
        }
        means.push((cpu_ns() - began) as f64 / rows.len() as f64);
        last = Some(book);
    }
    let resting = last.take().expect("at least one pass").resting();
    let (mut hash, mut volume) = (BASIS, 0);
    for trade in &out.trades {
        hash = trade.iter().fold(hash, |h, x| fold(h, *x));
        volume += trade[3];
    }
    let (trades, rejects) = (out.trades.len(), out.rejects);
    let mut latencies = vec![0u64; rows.len()];
    let mut book = fresh(symbols);
    out.trades.clear();
    let mut before = ticks();
    for (row, slot) in rows.iter().zip(&mut latencies) {
        book.apply(row, &mut out);
        let after = ticks();
        *slot = after - before;
        before = after;
    }
    drop(book);
    means.sort_by(f64::total_cmp);
    let ns = ns_per_tick();
    let curve = curve(&mut latencies, ns);
    let mut line = format!(
        "{{\"events\":{},\"trades\":{trades},\"volume\":{volume},\"tradehash\":\"{hash:016x}\",\"restqty\":{},",
        rows.len(),
        resting.quantity
    );
    if let Some(n) = resting.orders {
        write!(line, "\"resting\":{n},").unwrap();
    }
    if P::COUNTS_REJECTS {
        write!(line, "\"rejects\":{rejects},").unwrap();
    }
    println!(
        "{line}\"mean_ns\":{:.2},\"median_mean_ns\":{:.2},\"max_ns\":{:.0},\"curve\":[{curve}]}}",
        means[0],
        means[means.len() / 2],
        latencies[latencies.len() - 1] as f64 * ns
    );
}
