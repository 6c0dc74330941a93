//! Maintenance windows: `Sat 02:00-05:00 Europe/Berlin`. Whether one is open is a function of the window and the time.
//!
//! Time zones come from the tz database that is compiled in. A window that a change of the clocks shortens or makes
//! longer opens and closes by the clock on the wall.

use std::fmt;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use crate::id::Timestamp;

/// One window that comes back every week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    days: Vec<Weekday>,
    opens: Time,
    closes: Time,
    zone: TimeZone,
    text: String,
}

/// All windows of an environment; without any, it is always open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows(Vec<Window>);

/// How things stand at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There are no windows: changes are welcome at any time.
    Always,
    /// Inside, until then.
    Open {
        /// When it closes.
        closes: Timestamp,
    },
    /// Outside.
    Closed {
        /// When the next one opens; absent where none will within the time the calendar knows.
        opens: Option<Timestamp>,
    },
}

/// A text that is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not three words.
    #[error("`{0}` is no window: write DAYS HH:MM-HH:MM ZONE, such as \"Sat 02:00-05:00 Europe/Berlin\"")]
    Form(String),
    /// Not days.
    #[error("`{0}` names no days: write Sat, or Mon-Fri, or Sat,Sun, or daily")]
    Days(String),
    /// Not hours.
    #[error("`{0}` are no hours: write HH:MM-HH:MM, from 00:00 to 24:00, and not the same twice")]
    Hours(String),
    /// Not a zone of the tz database.
    #[error("there is no time zone `{0}`: write a name of the tz database, such as Europe/Berlin, or UTC")]
    Zone(String),
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl Window {
    /// Reads a window.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, hours, zone] = words.as_slice() else { return Err(WindowError::Form(text.to_owned())) };
        let (opens, closes) = read_hours(hours).ok_or_else(|| WindowError::Hours((*hours).to_owned()))?;
        Ok(Self {
            days: read_days(days).ok_or_else(|| WindowError::Days((*days).to_owned()))?,
            opens,
            closes,
            zone: TimeZone::get(zone).map_err(|_| WindowError::Zone((*zone).to_owned()))?,
            text: words.join(" "),
        })
    }

    /// When it is open, if it opens on this day.
    fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.contains(&date.weekday()) {
            return None;
        }
        // 22:00-04:00 closes on the next day, and so does 00:00-24:00.
        let last = if self.closes > self.opens { date } else { date.checked_add(1.day()).ok()? };
        let moment = |date: Date, time: Time| {
            let zoned = self.zone.to_zoned(date.to_datetime(time)).ok()?;
            Some(Timestamp(zoned.timestamp().as_microsecond()))
        };
        let (opens, closes) = (moment(date, self.opens)?, moment(last, self.closes)?);
        (opens < closes).then_some((opens, closes))
    }

    /// All times it is open, from the day before `now` to two weeks later.
    fn around(&self, now: jiff::Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        (-1..=14).filter_map(move |days| self.on(today.checked_add(Span::new().days(days)).ok()?))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Windows {
    /// Reads windows.
    ///
    /// # Errors
    /// The first text that is none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, WindowError> {
        texts.into_iter().map(Window::parse).collect::<Result<_, _>>().map(Self)
    }

    /// How things stand at `now`. Windows that touch or overlap count as one.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.0.is_empty() {
            return Standing::Always;
        }
        let Ok(moment) = jiff::Timestamp::from_microsecond(now.0) else { return Standing::Closed { opens: None } };
        let mut times: Vec<_> = self.0.iter().flat_map(|window| window.around(moment)).collect();
        times.sort_unstable();
        let inside = |closes: Timestamp, at: Timestamp| {
            let reaching = times.iter().filter(|(opens, _)| *opens <= at).map(|(_, closes)| *closes).max();
            reaching.filter(|reached| *reached > closes)
        };
        let mut closes = now;
        while let Some(later) = inside(closes, closes) {
            closes = later;
        }
        match closes > now {
            true => Standing::Open { closes },
            false => Standing::Closed { opens: times.iter().map(|(opens, _)| *opens).find(|opens| *opens > now) },
        }
    }

    /// That they are closed at `now`, and when the next one opens, as a sentence; nothing while one is open.
    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Option<String> {
        let Standing::Closed { opens } = self.standing(now) else { return None };
        let next =
            opens.map_or_else(|| "it does not open again".to_owned(), |at| format!("open again {}", self.show(at)));
        Some(format!("it is outside of the maintenance window ({self}); {next}"))
    }

    /// A moment in the zone of the first window: `Sat 2026-11-28 02:00 Europe/Berlin`.
    #[must_use]
    pub fn show(&self, at: Timestamp) -> String {
        let zone = self.0.first().map_or(TimeZone::UTC, |window| window.zone.clone());
        match jiff::Timestamp::from_microsecond(at.0) {
            Ok(moment) => {
                let name = zone.iana_name().unwrap_or("UTC").to_owned();
                format!("{} {name}", moment.to_zoned(zone).strftime("%a %Y-%m-%d %H:%M"))
            }
            Err(_) => at.0.to_string(),
        }
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|window| window.text.as_str()).collect();
        f.write_str(&texts.join(", "))
    }
}

fn read_days(text: &str) -> Option<Vec<Weekday>> {
    let index = |name: &str| DAYS.iter().position(|(known, _)| name.eq_ignore_ascii_case(known));
    if text.eq_ignore_ascii_case("daily") {
        return Some(DAYS.iter().map(|(_, day)| *day).collect());
    }
    let mut days = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (index(first)?, index(last)?);
        // `Fri-Mon` goes over the end of the week.
        let count = (last + 7 - first) % 7;
        days.extend(DAYS.iter().cycle().skip(first).take(count + 1).map(|(_, day)| *day));
    }
    Some(days)
}

/// `24:00` is the end of the day, which is the beginning of the next.
fn read_hours(text: &str) -> Option<(Time, Time)> {
    let (opens, closes) = text.split_once('-')?;
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2)?;
        Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
    };
    let end = if closes == "24:00" { Some(Time::midnight()) } else { time(closes) };
    let (opens, end) = (time(opens)?, end?);
    (opens != end || closes == "24:00").then_some((opens, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn standing(windows: &[&str], now: &str) -> Standing {
        Windows::parse(windows.iter().copied()).unwrap().standing(at(now))
    }

    #[test]
    fn a_window_opens_and_closes_by_the_clock_on_its_wall() {
        let sat = ["Sat 02:00-05:00 Europe/Berlin"];
        // 2026-11-28 is a Saturday; Berlin is an hour ahead of UTC then, and two hours in July.
        assert_eq!(standing(&sat, "2026-11-28T01:00:00Z"), Standing::Open { closes: at("2026-11-28T04:00:00Z") });
        assert_eq!(standing(&sat, "2026-11-28T03:59:59Z"), Standing::Open { closes: at("2026-11-28T04:00:00Z") });
        assert_eq!(
            standing(&sat, "2026-11-28T04:00:00Z"),
            Standing::Closed { opens: Some(at("2026-12-05T01:00:00Z")) }
        );
        assert_eq!(
            standing(&sat, "2026-11-28T00:59:59Z"),
            Standing::Closed { opens: Some(at("2026-11-28T01:00:00Z")) }
        );
        assert_eq!(
            standing(&sat, "2026-07-15T12:00:00Z"),
            Standing::Closed { opens: Some(at("2026-07-18T00:00:00Z")) }
        );
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens() {
        let night = ["Fri 22:00-04:00 UTC"];
        assert_eq!(standing(&night, "2026-11-28T03:00:00Z"), Standing::Open { closes: at("2026-11-28T04:00:00Z") });
        assert_eq!(
            standing(&night, "2026-11-27T03:00:00Z"),
            Standing::Closed { opens: Some(at("2026-11-27T22:00:00Z")) }
        );
    }

    #[test]
    fn windows_that_touch_are_one_and_days_go_over_the_weeks_end() {
        let two = ["Fri-Mon 20:00-24:00 UTC", "Sat,Tue 00:00-06:00 UTC"];
        assert_eq!(standing(&two, "2026-11-27T21:00:00Z"), Standing::Open { closes: at("2026-11-28T06:00:00Z") });
        assert_eq!(standing(&two, "2026-11-30T21:00:00Z"), Standing::Open { closes: at("2026-12-01T06:00:00Z") });
        let whole = ["daily 00:00-24:00 UTC"];
        assert!(matches!(standing(&whole, "2026-11-30T21:00:00Z"), Standing::Open { .. }));
        assert_eq!(standing(&[], "2026-11-30T21:00:00Z"), Standing::Always);
    }

    #[test]
    fn the_hour_that_a_change_of_the_clocks_skips_or_repeats_does_no_harm() {
        // In Berlin 02:00-03:00 does not exist on 2026-03-29: a window that would open in it does so at 03:30 by the
        // wall, which is when it closes.
        let skipped = ["Sun 02:30-03:30 Europe/Berlin"];
        let open = standing(&skipped, "2026-03-29T01:29:00Z");
        assert_eq!(open, Standing::Closed { opens: Some(at("2026-04-05T00:30:00Z")) });
        // On 2026-10-25 the hour from 02:00 comes twice, and the window lasts for both.
        let twice = ["Sun 02:00-03:00 Europe/Berlin"];
        assert_eq!(standing(&twice, "2026-10-25T00:30:00Z"), Standing::Open { closes: at("2026-10-25T02:00:00Z") });
    }

    #[test]
    fn what_is_no_window_is_told_with_what_is_wrong() {
        for (text, expected) in [
            ("", "is no window"),
            ("Sat 02:00-05:00", "is no window"),
            ("Someday 02:00-05:00 UTC", "names no days"),
            ("Sat 2-5 UTC", "are no hours"),
            ("Sat 02:00-25:00 UTC", "are no hours"),
            ("Sat 02:00-02:00 UTC", "are no hours"),
            ("Sat 02:00-05:00 Europe/Berlln", "there is no time zone `Europe/Berlln`"),
        ] {
            let error = Window::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_moment_is_shown_in_the_windows_zone() {
        let windows = Windows::parse(["Sat 02:00-05:00 Europe/Berlin"]).unwrap();
        assert_eq!(windows.show(at("2026-11-28T01:00:00Z")), "Sat 2026-11-28 02:00 Europe/Berlin");
    }
}
