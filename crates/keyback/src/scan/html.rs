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
    failures: Vec<&'a Finding>,
    others: Vec<&'a Finding>,
    journeys: Vec<&'a Journey>,
    chart: Option<Chart>,
}

impl Page<'_> {
    /// A bar's height of 100. By reference, as the template's loop has it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the template's loop has references")]
    fn height(&self, bar: &u64) -> u64 {
        let highest = self.chart.as_ref().map_or(1, Chart::highest).max(1);
        (bar * 100).div_ceil(highest)
    }
}

/// The page.
pub fn render(report: &Report, took: Duration) -> Result<String, askama::Error> {
    let (failures, others) = report.findings.iter().partition(|finding| finding.is_failure());
    Page {
        report,
        seconds: took.as_secs_f64(),
        failures,
        others,
        journeys: report.journeys.iter().take(50).collect(),
        chart: Chart::of(&report.hours, 72),
    }
    .render()
}
