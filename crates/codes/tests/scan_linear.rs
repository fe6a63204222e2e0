//! No input takes more than linear time: four times as much of it takes about four times as long.

use keyback_codes::scan::Scanner;

/// Nanoseconds that this thread has had of a processor (proc_pid_schedstat): others on the machine do not count.
fn processor_time() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    told.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

fn cost(input: &[u8]) -> u64 {
    let before = processor_time();
    let mut scanner = Scanner::new();
    scanner.feed(input, &mut |_| {});
    scanner.finish(&mut |_| {});
    processor_time() - before
}

/// `head`, and then `part` until it is so long.
fn of(head: &str, part: &str, length: usize) -> Vec<u8> {
    let mut input = head.as_bytes().to_vec();
    while input.len() < length {
        input.extend_from_slice(part.as_bytes());
    }
    input
}

#[track_caller]
fn is_linear(name: &str, head: &str, part: &str) {
    const LENGTH: usize = 3 << 20;
    let small = cost(&of(head, part, LENGTH)).max(5_000_000);
    let large = cost(&of(head, part, 4 * LENGTH));
    assert!(large < 10 * small, "{name}: {small} ns, four times as much of it {large} ns");
    // Bars against a constant that is as bad as a square: 12 MiB in less than a minute, unoptimised.
    assert!(large < 60_000_000_000, "{name}: {large} ns");
}

#[test]
fn hostile_logs_take_linear_time() {
    is_linear("one line", "x ", "x");
    is_linear("one line of codes", "x ", "AADSTS50126 ");
    is_linear("line breaks", "x\n", "\n");
    is_linear("quotes", "x ", "\"");
    is_linear("indented lines with codes", "x\n", " AADSTS50126\n");
    is_linear("indented lines", "x\n", " \t\n y\n");
    is_linear("labels without a value", "x\n", "errorCode\\\"\\\"\\\"\\");
    is_linear("names that nobody knows", "x\n", "KDC_ERR_NONE LDAP_ ldap_x: (4 ");
    is_linear("times", "x\n", "04:05:06 ");
}

#[test]
fn hostile_documents_take_linear_time() {
    is_linear("nesting", "[", "[");
    is_linear("nesting of objects", "{", "\"a\":{");
    is_linear("one text", "{\"a\":\"", "x");
    is_linear("quotes", "{", "\"");
    is_linear("escapes", "{\"a\":\"", "\\");
    is_linear("one record of codes", "{\"a\":\"", "AADSTS50126 ");
    is_linear("empty objects", "[", "{},");
}

#[test]
fn hostile_tables_and_events_take_linear_time() {
    let header = "time,correlationId,resultType,resultDescription\n";
    is_linear("quotes", header, "\"");
    is_linear("a quote in every row", header, "a,\"b\n");
    is_linear("separators", header, ",");
    is_linear("line breaks", header, "\n");
    is_linear("events that do not end", "<Event ", "<Event ");
    is_linear("a tag that does not end", "<Event/>\n<", "x");
    is_linear("empty events", "<Events>", "<Event></Event>");
}

#[test]
fn a_record_of_a_hundred_thousand_codes_takes_linear_time() {
    let record = |codes: u32| {
        let mut text = String::from("x");
        for code in 0..codes {
            text.push_str(" AADSTS");
            text.push_str(&(100_000 + code).to_string());
        }
        text.into_bytes()
    };
    let small = cost(&record(25_000)).max(5_000_000);
    let large = cost(&record(100_000));
    assert!(large < 10 * small, "{small} ns, four times as much of it {large} ns");
}
