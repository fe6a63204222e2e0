//! The rules for the new password, as the person reads them before they type. The browser ticks off what it can see for
//! itself; the rest is judged when the password is sent.

use keyback_core::{PasswordRules, Timestamp};
use std::time::Duration;

/// One rule. `kind` is what the script knows it by; without one, a browser cannot judge it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) kind: Option<&'static str>,
    /// What the script needs to judge it.
    pub(crate) value: String,
    pub(crate) text: String,
}

/// What the page shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) rules: Vec<Rule>,
    /// How long the new password stays, where the person may not change it at once.
    pub(crate) stays: Option<String>,
    /// The directory takes no new password before.
    pub(crate) too_young: Option<Moment>,
}

/// An instant for a person, and for their browser, which knows their time zone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) machine: String,
    pub(crate) text: String,
}

impl Moment {
    /// The first whole minute that is not before `at`.
    pub(super) fn at_or_after(at: Timestamp) -> Self {
        let machine = at.plus(Duration::from_micros(59_999_999)).to_string();
        let minute = machine.get(..16).unwrap_or(&machine);
        Self { text: format!("{} UTC", minute.replace('T', ", ")), machine: format!("{minute}Z") }
    }
}

impl Shown {
    pub(crate) fn of(rules: &PasswordRules, now: Timestamp) -> Self {
        let rule = |kind, value: String, text: String| Rule { kind, value, text };
        let mut list = Vec::new();
        match rules.min_length {
            Some(least) if least > 1 => list.push(rule(
                Some("length"),
                least.to_string(),
                format!("At least {least} characters, at most {}", PasswordRules::MAX_LENGTH),
            )),
            Some(_) | None => {}
        }
        if rules.complexity == Some(true) {
            let text = "Three of these: capitals, small letters, digits, signs, other letters";
            list.push(rule(Some("kinds"), "3".to_owned(), text.to_owned()));
        }
        if !rules.names.is_empty() {
            let names = rules.names.iter().map(|name| format!("“{name}”")).collect::<Vec<_>>().join(", ");
            list.push(rule(Some("names"), rules.names.join("\n"), format!("Without your names: {names}")));
        }
        match rules.history {
            None | Some(0) => {}
            Some(1) => list.push(rule(None, String::new(), "Not your present password".to_owned())),
            Some(length) => {
                let text = format!("None of your last {length} passwords, the present one among them");
                list.push(rule(None, String::new(), text));
            }
        }
        if rules.blocklist {
            let text = "Not mainly made of common words or words of your organisation";
            list.push(rule(None, String::new(), text.to_owned()));
        }
        if rules.breached {
            list.push(rule(None, String::new(), "Not one that became known elsewhere".to_owned()));
        }
        Self {
            rules: list,
            stays: rules.min_age_seconds.filter(|age| *age > 0).map(span),
            too_young: rules.too_young_until.filter(|until| now < *until).map(Moment::at_or_after),
        }
    }
}

/// A length of time in the largest whole unit.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        s if s % 86_400 == 0 => (s / 86_400, "day"),
        s if s % 3_600 == 0 => (s / 3_600, "hour"),
        s => (s.div_ceil(60), "minute"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_503_600_123_456); // 2026-11-24T07:00:00.123Z

    #[test]
    fn each_rule_that_is_known_is_a_sentence_and_no_other_is() {
        let all = PasswordRules {
            min_length: Some(12),
            complexity: Some(true),
            history: Some(24),
            min_age_seconds: Some(86_400),
            too_young_until: Some(NOW.plus(Duration::from_hours(3))),
            names: vec!["ada".to_owned(), "lovelace".to_owned()],
            blocklist: true,
            breached: true,
        };
        let shown = Shown::of(&all, NOW);
        let kinds: Vec<Option<&str>> = shown.rules.iter().map(|rule| rule.kind).collect();
        assert_eq!(kinds, [Some("length"), Some("kinds"), Some("names"), None, None, None]);
        assert!(shown.rules[0].text.contains("12") && shown.rules[2].text.contains("“lovelace”"));
        assert_eq!(shown.stays.as_deref(), Some("1 day"));
        let moment = shown.too_young.expect("a moment");
        assert_eq!(moment.text, "2026-11-24, 10:01 UTC");
        assert_eq!(moment.machine, "2026-11-24T10:01Z");
        let nothing = Shown::of(&PasswordRules::default(), NOW);
        assert_eq!(nothing, Shown { rules: Vec::new(), stays: None, too_young: None });
    }

    #[test]
    fn a_minimum_age_that_is_over_is_not_told() {
        let over = PasswordRules { too_young_until: Some(NOW), ..PasswordRules::default() };
        assert_eq!(Shown::of(&over, NOW).too_young, None);
    }

    #[test]
    fn lengths_of_time_are_told_in_their_largest_whole_unit() {
        for (seconds, text) in
            [(86_400, "1 day"), (172_800, "2 days"), (5_400, "90 minutes"), (7_200, "2 hours")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
