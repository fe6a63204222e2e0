//! How fast the scanner alone is on a file that is in memory: `cargo run --release --example scan_speed FILE...`.

#![expect(clippy::print_stdout, reason = "it prints its figures")]

use keyback_codes::scan::Scanner;
use std::time::Instant;

#[expect(clippy::cast_precision_loss, reason = "gigabytes")]
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        let mut best = f64::MAX;
        let mut events = 0;
        for _ in 0..5 {
            events = 0_usize;
            let began = Instant::now();
            let mut scanner = Scanner::new();
            for block in bytes.chunks(256 * 1024) {
                scanner.feed(block, &mut |_| events += 1);
            }
            scanner.finish(&mut |_| events += 1);
            best = best.min(began.elapsed().as_secs_f64());
        }
        println!("{path}: {:.2} GB/s, {events} events", bytes.len() as f64 / best / 1e9);
    }
    Ok(())
}
