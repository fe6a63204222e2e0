//! Failures over time, as a row of bars: for a terminal and for a page.

use jiff::Timestamp;
use std::collections::BTreeMap;

/// Bars of equal spans of time.
pub struct Chart {
    /// Failures in each span.
    pub bars: Vec<u64>,
    /// Hours in a span.
    pub hours: i64,
    /// The beginning of the first.
    pub begin: Timestamp,
    /// The end of the last.
    pub end: Timestamp,
}

impl Chart {
    /// At most `columns` bars. `None` where nothing has a time, or all of it lies within one hour.
    pub fn of(hours: &BTreeMap<i64, u64>, columns: usize) -> Option<Self> {
        let (first, last) = (*hours.keys().next()?, *hours.keys().next_back()?);
        let span = last - first + 1;
        if span < 2 {
            return None;
        }
        let columns = i64::try_from(columns.max(1)).unwrap_or(1);
        // Spans that people count in.
        let width = [1, 2, 3, 4, 6, 8, 12, 24, 48, 7 * 24, 14 * 24, 30 * 24, 90 * 24]
            .into_iter()
            .find(|width| span <= width * columns)
            .unwrap_or(span / columns + 1);
        let begin = first.div_euclid(width) * width;
        let count = usize::try_from((last - begin) / width + 1).unwrap_or(1);
        let mut bars = vec![0; count];
        for (hour, failures) in hours {
            bars[usize::try_from((hour - begin) / width).unwrap_or(0).min(count - 1)] += failures;
        }
        let at = |hour: i64| Timestamp::from_second(hour * 3600).ok();
        Some(Self {
            end: at(begin + width * i64::try_from(count).unwrap_or(1))?,
            bars,
            hours: width,
            begin: at(begin)?,
        })
    }

    /// The highest bar.
    pub fn highest(&self) -> u64 {
        self.bars.iter().copied().max().unwrap_or(0)
    }

    /// How long one bar is, in words.
    pub fn unit(&self) -> String {
        match self.hours {
            1 => "an hour".to_owned(),
            24 => "a day".to_owned(),
            hours if hours % 24 == 0 => format!("{} days", hours / 24),
            hours => format!("{hours} hours"),
        }
    }

    /// One line of block characters.
    pub fn blocks(&self) -> String {
        const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let highest = self.highest().max(1);
        self.bars
            .iter()
            .map(|bar| LEVELS[usize::try_from((bar * 8).div_ceil(highest)).unwrap_or(8).min(8)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_cover_the_whole_time_and_lose_nothing() {
        let hours: BTreeMap<i64, u64> = [(490_000, 3), (490_001, 0), (490_050, 9), (490_099, 1)].into();
        let chart = Chart::of(&hours, 60).expect("more than an hour");
        assert_eq!(chart.bars.iter().sum::<u64>(), 13);
        assert!(chart.bars.len() <= 60 && chart.hours == 2);
        assert_eq!(chart.blocks().chars().count(), chart.bars.len());
        assert!(chart.blocks().contains('█') && chart.blocks().contains('▁'));
        assert!(Chart::of(&[(1, 5)].into(), 60).is_none());
        assert!(Chart::of(&BTreeMap::new(), 60).is_none());
    }
}
