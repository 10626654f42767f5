//! What is found out before a run is written: it is the run's only while nothing else can have changed it.

use tenantry_shared::{ledger::Ahead, run::RunSpec};

use super::{LEASE, bench::Bench};

impl Bench {
    /// One run at a time, of tenants of which the registry says this.
    async fn seen(&mut self, known: &str) {
        self.spec.overlap = false;
        self.sql.execute(&format!("UPDATE tenants SET {known}")).await;
    }

    async fn look(&self) -> Option<Ahead> {
        let selected = self.ledger.count_selected(&self.spec.selection).await.expect("a count");
        self.ledger.look_ahead(&self.spec, selected).await.expect("an answer")
    }

    /// A look that found all whom it read.
    async fn found(&self) -> Ahead {
        let mut ahead = self.look().await.expect("a look");
        let (mut pages, mut last) = (Vec::new(), None);
        loop {
            let page = self.ledger.ahead_page(&self.registry, &self.spec, last, 3, false).await;
            pages.push(page.expect("a page"));
            let page = pages.last().expect("a page");
            assert!(page.iter().map(|sealed| sealed.id()).is_sorted_by(|newer, older| newer > older));
            last = page.last().map(|sealed| sealed.id());
            if page.is_empty() {
                break;
            }
        }
        ahead.found = pages.iter().flatten().map(|sealed| sealed.id()).collect();
        ahead
    }

    async fn enqueue_after(&self, ahead: &Ahead) {
        self.ledger.enqueue_after(&self.spec, "first", Some(ahead)).await.expect("a run");
    }

    async fn counted(&self) -> (i64, i64, i64) {
        let ended = "SELECT count(*) FROM runs WHERE state = 'succeeded'";
        let current = "state = 'current' AND attempt = 0 AND to_version = '1' AND due_at IS NULL";
        (self.targets(current).await, self.targets("state = 'pending'").await, self.sql.number(ended).await)
    }
}

const SEEN: &str = "version = '1', version_at = 1";

pub(super) async fn who_is_found_current_before_is_written_so_and_a_run_of_no_others_has_ended(
    mut bench: Bench,
) {
    bench.seen(SEEN).await;
    let ahead = bench.found().await;
    bench.enqueue_after(&ahead).await;
    assert_eq!(bench.counted().await, (10, 0, 1));
    assert!(bench.take(10, "a", LEASE).await.is_empty());
    assert_eq!(bench.sql.number("SELECT count(*) FROM tenants WHERE version_at > 1").await, 10);
}

pub(super) async fn who_is_not_found_current_before_is_worked(mut bench: Bench) {
    bench.seen(SEEN).await;
    let mut ahead = bench.found().await;
    ahead.found.remove(4);
    bench.enqueue_after(&ahead).await;
    assert_eq!(bench.counted().await, (9, 1, 0));
    assert_eq!(bench.take(10, "a", LEASE).await.len(), 1);
}

pub(super) async fn what_was_found_before_another_run_was_written_is_forgotten(mut bench: Bench) {
    bench.seen(SEEN).await;
    let ahead = bench.found().await;
    bench.enqueue_some(1).await;
    assert!(bench.take(1, "a", LEASE).await.len() == 1 && bench.look().await.is_none());
    bench.spec.overlap = true;
    bench.enqueue_after(&ahead).await;
    assert_eq!(bench.counted().await.0, 0);
}

pub(super) async fn who_was_changed_since_it_was_found_is_not_written_as_current(mut bench: Bench) {
    bench.seen(SEEN).await;
    let ahead = bench.found().await;
    let change = async |what: &str, slug: &str| {
        bench.sql.execute(&format!("UPDATE tenants SET {what} WHERE slug = '{slug}'")).await;
    };
    change("version = NULL, version_at = NULL", "t01").await;
    change("version = '2'", "t02").await;
    change("version_at = 9999999999999", "t03").await;
    change("status = 'suspended'", "t04").await;
    bench.enqueue_after(&ahead).await;
    assert_eq!(bench.counted().await, (6, 3, 0));
}

pub(super) async fn nobody_is_looked_for_of_whom_the_registry_knows_nothing_or_who_has_a_cap(
    mut bench: Bench,
) {
    bench.seen("version = NULL").await;
    assert!(bench.look().await.is_none());
    bench.seen(SEEN).await;
    bench.sql.execute("UPDATE tenants SET version = '0' WHERE slug > 't06'").await;
    assert_eq!(bench.found().await.found.len(), 7);
    bench.sql.execute("UPDATE servers SET cap = 3").await;
    assert_eq!(bench.found().await.found, []);
    let waves = RunSpec { central: true, ..bench.spec.clone() };
    assert!(bench.ledger.look_ahead(&waves, 10).await.expect("an answer").is_none());
}
