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
        Some(Self { bars, hours: width, begin: Timestamp::from_second(begin * 3600).ok()? })
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

    /// Columns of a bar: few bars are wide ones.
    fn wide(&self, columns: usize) -> usize {
        (columns / self.bars.len().max(1)).clamp(1, 7)
    }

    /// Lines of block characters, the highest first, with what they count at their left.
    pub fn rows(&self, height: u64, columns: usize) -> Vec<String> {
        const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let highest = self.highest().max(1);
        let label = highest.to_string().len();
        let row = |row: u64| {
            let cell = |bar: &u64| {
                let eighths = (bar * 8 * height).div_ceil(highest).saturating_sub(row * 8).min(8);
                let level = LEVELS[usize::try_from(eighths).unwrap_or(8)];
                let wide = self.wide(columns);
                let gap = if wide > 2 { " " } else { "" };
                level.to_string().repeat(wide - gap.len()) + gap
            };
            let name = match row {
                0 => "0".to_owned(),
                row if row + 1 == height => highest.to_string(),
                _ => String::new(),
            };
            let side = if name.is_empty() { '│' } else { '┤' };
            format!("{name:>label$} {side}{}", self.bars.iter().map(cell).collect::<String>().trim_end())
        };
        (0..height).rev().map(row).collect()
    }

    /// The times below the bars: a line with marks, and what they mean.
    pub fn axis(&self, columns: usize) -> [String; 2] {
        const APART: usize = 14;
        let label = self.highest().max(1).to_string().len();
        let wide = self.wide(columns);
        let apart = APART.div_ceil(wide) * wide;
        let (mut marks, mut words) = (String::new(), String::new());
        for at in 0..self.bars.len() * wide {
            let mark = at % apart == 0;
            marks.push(if mark { '┬' } else { '─' });
            if mark {
                let word = self.time_of(at / wide);
                if at + word.chars().count() <= (self.bars.len() * wide).max(APART) {
                    words.push_str(&" ".repeat(at.saturating_sub(words.chars().count())));
                    words.push_str(&word);
                }
            }
        }
        [format!("{} └{marks}", " ".repeat(label)), format!("{}  {words}", " ".repeat(label))]
    }

    /// When a bar begins, as short as bars of this length allow.
    pub fn time_of(&self, bar: usize) -> String {
        let hour = self.begin.as_second() / 3600 + i64::try_from(bar).unwrap_or(0) * self.hours;
        let Ok(time) = Timestamp::from_second(hour * 3600) else { return String::new() };
        let form = if self.hours < 24 { "%m-%d %H:%M" } else { "%Y-%m-%d" };
        time.strftime(form).to_string()
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
        let rows = chart.rows(4, 60);
        assert!(rows[0].starts_with("9 ┤") && rows[3].starts_with("0 ┤"), "{rows:?}");
        assert!(rows.iter().all(|row| row.chars().count() <= 63), "{rows:?}");
        assert!(rows[0].contains('█') && rows[3].contains('▄'), "{rows:?}");
        assert_eq!(chart.axis(60)[0].chars().count(), chart.bars.len() + 3);
        assert_eq!(chart.axis(60)[1].split_whitespace().count(), 6, "{:?}", chart.axis(60));
        let few = Chart::of(&[(490_000, 1), (490_001, 2)].into(), 60).expect("two hours");
        assert_eq!(few.rows(2, 60), ["2 ┤       ██████", "0 ┤██████ ██████"]);
        assert!(Chart::of(&[(1, 5)].into(), 60).is_none());
        assert!(Chart::of(&BTreeMap::new(), 60).is_none());
    }
}
