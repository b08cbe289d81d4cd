//! Moments as text: RFC 3339, UTC.

use std::time::Duration;
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment since the Unix epoch; `None` after the year 9999, which RFC 3339 has no words for.
pub fn rfc3339(since_epoch: Duration) -> Option<String> {
    let nanos = i128::try_from(since_epoch.as_nanos()).ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?.format(&Rfc3339).ok()
}

/// The same for milliseconds; a moment that has no such text is told in milliseconds.
pub fn rfc3339_ms(ms: u64) -> String {
    rfc3339(Duration::from_millis(ms)).unwrap_or_else(|| format!("{ms} ms"))
}

/// Milliseconds since the Unix epoch of a moment in RFC 3339; `None` if it is none, or before that.
pub fn unix_ms(text: &str) -> Option<u64> {
    since_epoch(OffsetDateTime::parse(text, &Rfc3339).ok()?)
}

/// The same, or of a day, which begins at midnight UTC: `2026-11-27`.
pub fn moment_ms(text: &str) -> Option<u64> {
    unix_ms(text).or_else(|| {
        let mut parts = text.splitn(3, '-');
        let year = parts.next()?.parse().ok()?;
        let month = parts.next()?.parse::<u8>().ok()?.try_into().ok()?;
        let day = parts.next()?.parse().ok()?;
        since_epoch(Date::from_calendar_date(year, month, day).ok()?.midnight().assume_utc())
    })
}

fn since_epoch(moment: OffsetDateTime) -> Option<u64> {
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_days_or_times() {
        assert_eq!(moment_ms("1970-01-02"), Some(86_400_000));
        assert_eq!(moment_ms("1970-01-01T00:00:01.5Z"), Some(1_500));
        for bad in ["", "yesterday", "2026-13-01", "2026-11-31", "2026-11"] {
            assert_eq!(moment_ms(bad), None, "{bad}");
        }
        assert_eq!(unix_ms("1970-01-02"), None);
    }

    #[test]
    fn moments_are_written_as_they_are_read() {
        assert_eq!(rfc3339_ms(1_500), "1970-01-01T00:00:01.5Z");
        assert_eq!(unix_ms(&rfc3339_ms(1_795_694_400_001)), Some(1_795_694_400_001));
        assert_eq!(rfc3339(Duration::from_secs(u64::MAX)), None);
        assert_eq!(rfc3339_ms(u64::MAX), format!("{} ms", u64::MAX));
    }
}
