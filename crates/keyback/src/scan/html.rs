//! `--html FILE`: the report as one page that needs nothing else.

use super::chart::Chart;
use super::report::{Finding, Journey, Report};
use askama::Template;
use std::time::Duration;

#[derive(Template)]
#[template(path = "scan.html")]
struct Page<'a> {
    report: &'a Report,
    seconds: f64,
    /// How often something failed.
    events: u64,
    failures: Vec<&'a Finding>,
    others: Vec<&'a Finding>,
    journeys: Vec<&'a Journey>,
    chart: Option<Chart>,
}

/// A bar in the drawing's units, which are 920 wide.
struct Bar {
    x: usize,
    y: u64,
    width: usize,
    height: u64,
    time: String,
    count: u64,
}

const LEFT: usize = 46;
const WIDTH: usize = 870;
const HEIGHT: u64 = 140;
const BOTTOM: u64 = 150;

impl Page<'_> {
    fn bars(chart: &Chart) -> Vec<Bar> {
        let (count, highest) = (chart.bars.len().max(1), chart.highest().max(1));
        let step = WIDTH / count;
        let bars = chart.bars.iter().enumerate().filter(|(_, failures)| **failures > 0);
        bars.map(|(at, failures)| {
            let height = (failures * HEIGHT).div_ceil(highest);
            let width = step.saturating_sub(2 + step / 12).max(1);
            Bar {
                x: LEFT + at * WIDTH / count,
                y: BOTTOM - height,
                width,
                height,
                time: chart.time_of(at),
                count: *failures,
            }
        })
        .collect()
    }

    /// Where times stand below the bars: at most seven.
    fn ticks(chart: &Chart) -> Vec<(usize, String)> {
        let count = chart.bars.len().max(1);
        let places = (0..count).step_by(count.div_ceil(7));
        places.map(|at| (LEFT + at * WIDTH / count, chart.time_of(at))).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn size(&self) -> String {
        let bytes = self.report.bytes;
        match bytes {
            0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
            1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
            _ => format!("{:.1} GB", bytes as f64 / 1e9),
        }
    }
}

/// The page.
pub fn render(report: &Report, took: Duration) -> Result<String, askama::Error> {
    let (failures, others): (Vec<&Finding>, Vec<&Finding>) =
        report.findings.iter().partition(|finding| finding.is_failure());
    Page {
        report,
        seconds: took.as_secs_f64(),
        events: failures.iter().map(|finding| finding.count).sum(),
        failures,
        others,
        journeys: report.journeys.iter().take(50).collect(),
        chart: Chart::of(&report.hours, 72),
    }
    .render()
}
