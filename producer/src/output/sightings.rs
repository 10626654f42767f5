//! What targets that take long do now, for a person: one line each.

use tenantry_shared::ledger::Sighting;

use super::short_duration;

/// How many a status shows.
const SHOWN: usize = 10;

/// The lines of a status: those that wait first.
pub(crate) fn lines(sightings: &[Sighting], now: i64) -> Vec<String> {
    let mut lines: Vec<String> = sightings.iter().take(SHOWN).map(|sighting| line(sighting, now)).collect();
    if sightings.len() > SHOWN {
        lines.push("… and more".into());
    }
    lines
}

/// `acme  migration 2 statement 1 for 42.0s, waits for a lock on users held by pid 4711 (…)`.
pub(super) fn line(sighting: &Sighting, now: i64) -> String {
    let seen = &sighting.seen;
    let place = match (&seen.migration, seen.statement) {
        (Some(migration), Some(number)) => format!("migration {migration} statement {number}"),
        (Some(migration), None) => format!("migration {migration}"),
        (None, _) => "between migrations".into(),
    };
    let lasted = short_duration(u64::try_from(now - sighting.since).unwrap_or(0));
    let waits = seen.waits_for.as_ref().map(|what| format!(", waits for {what}")).unwrap_or_default();
    format!("{}  {place} for {lasted}{waits}", sighting.tenant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_shared::ledger::Seen;

    fn sighting(waits_since: Option<i64>) -> Sighting {
        let seen = Seen {
            migration: Some("2".into()),
            statement: Some(1),
            waits_for: waits_since.map(|_| "a lock held by pid 1".into()),
        };
        Sighting { tenant: "acme".into(), attempt: 1, seen, since: 1_000, waits_since }
    }

    #[test]
    fn one_who_waits_is_told_in_a_line_and_only_the_first_are_shown() {
        let said = "acme  migration 2 statement 1 for 42.0s, waits for a lock held by pid 1";
        assert_eq!(line(&sighting(Some(3_000)), 43_000), said);
        assert_eq!(line(&sighting(None), 43_000), "acme  migration 2 statement 1 for 42.0s");
        let many: Vec<Sighting> = (0..11).map(|_| sighting(None)).collect();
        let shown = lines(&many, 43_000);
        assert_eq!((shown.len(), shown.last().map(String::as_str)), (11, Some("… and more")));
    }
}
