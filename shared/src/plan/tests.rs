//! What a plan holds, by example and by property.

use super::*;
use crate::{
    bundle::{Bundle, Scope, SetFiles, SetSpec},
    command::CommandSpec,
    format::File,
    tenant::Labels,
};
use proptest::prelude::*;

fn bundle(versions: &[i64]) -> Bundle {
    let files = versions.iter().map(|v| File { name: format!("{v}_m.sql"), content: format!("SELECT {v};") });
    Bundle::new(files.collect()).unwrap()
}

/// A history of these versions, as the bundle has them.
pub(super) fn history(bundle: &Bundle, versions: &[i64]) -> Vec<Applied> {
    let row = |v: &i64| Applied {
        version: (*v).into(),
        checksum: bundle.get(&(*v).into()).unwrap().checksum.clone(),
        success: true,
    };
    versions.iter().map(row).collect()
}

fn planned<'a>(
    bundle: &'a Bundle,
    history: &[Applied],
    target: i64,
    order: Order,
) -> Result<Vec<Pending<'a>>, Refusal> {
    with_progress(bundle, history, target, order, None)
}

fn with_progress<'a>(
    bundle: &'a Bundle,
    history: &[Applied],
    target: i64,
    order: Order,
    progress: Option<&Progress>,
) -> Result<Vec<Pending<'a>>, Refusal> {
    let goal = Goal { main: bundle.main(), target: &target.into(), order };
    plan(&bundle.taken_by(Scope::Tenants, &Labels::new()), &[history.to_vec()], progress, goal)
}

fn versions(pending: &[Pending<'_>]) -> Vec<i64> {
    pending.iter().map(|p| p.link.migration.version.as_str().parse().unwrap()).collect()
}

fn progress(version: i64, doubt: bool) -> Progress {
    Progress {
        table: "_sqlx_migrations".into(),
        version: version.into(),
        done: 3,
        doubt,
        ..Progress::default()
    }
}

#[test]
fn what_is_not_applied_is_pending_up_to_the_target() {
    let b = bundle(&[1, 2, 3, 4]);
    assert_eq!(versions(&planned(&b, &history(&b, &[1]), 3, Order::Linear).unwrap()), [2, 3]);
}

#[test]
fn a_tenant_beyond_the_target_has_nothing_pending() {
    let b = bundle(&[1, 2, 3]);
    assert!(planned(&b, &history(&b, &[1, 2, 3]), 2, Order::Linear).unwrap().is_empty());
}

#[test]
fn a_dirty_history_is_refused() {
    let b = bundle(&[1, 2]);
    let mut rows = history(&b, &[1, 2]);
    rows[1].success = false;
    assert_eq!(planned(&b, &rows, 2, Order::Any).unwrap_err().code(), "dirty");
}

#[test]
fn a_migration_whose_statements_are_known_is_resumed() {
    let b = bundle(&[1, 2, 3]);
    let mut rows = history(&b, &[1, 2]);
    (rows[1].success, rows[1].checksum) = (false, Some("of the file before it was mended".into()));
    let plan = with_progress(&b, &rows, 3, Order::Linear, Some(&progress(2, false))).unwrap();
    assert_eq!((versions(&plan), plan[0].resume.as_ref().unwrap().done), (vec![2, 3], 3));
    // Formats without a mark have no row for it.
    let plan = with_progress(&b, &rows[..1], 3, Order::Linear, Some(&progress(2, false))).unwrap();
    assert_eq!((versions(&plan), plan[1].resume.is_some()), (vec![2, 3], false));
    let doubt = with_progress(&b, &rows, 3, Order::Linear, Some(&progress(2, true))).unwrap_err();
    assert_eq!(doubt, Refusal::Doubt { version: 2.into(), file: "2_m.sql".into(), statement: 4 });
}

#[test]
fn what_is_half_reverted_is_not_taken_for_applied() {
    let b = bundle(&[1, 2]);
    let down = Progress { down: true, ..progress(2, false) };
    // Formats without a mark say that it is applied.
    let refusal = with_progress(&b, &history(&b, &[1, 2]), 2, Order::Any, Some(&down)).unwrap_err();
    assert_eq!(refusal, Refusal::HalfReverted { version: 2.into(), file: "2_m.sql".into() });
}

#[test]
fn a_changed_file_is_refused_before_an_older_pending_one_is_planned() {
    let b = bundle(&[1, 2, 3]);
    let mut rows = history(&b, &[3]);
    rows[0].checksum = Some("0".into());
    assert_eq!(planned(&b, &rows, 3, Order::Any).unwrap_err().code(), "checksum");
}

#[test]
fn an_applied_version_that_no_file_has_is_refused() {
    let b = bundle(&[1]);
    let rows = [Applied { version: 7.into(), checksum: None, success: true }];
    assert_eq!(planned(&b, &rows, 1, Order::Any).unwrap_err(), Refusal::Missing { version: 7.into() });
}

#[test]
fn an_older_pending_migration_is_refused_left_out_or_applied() {
    let b = bundle(&[1, 2, 3, 4]);
    let rows = history(&b, &[1, 3]);
    assert_eq!(planned(&b, &rows, 4, Order::Linear).unwrap_err().code(), "out-of-order");
    assert_eq!(versions(&planned(&b, &rows, 4, Order::Skip).unwrap()), [4]);
    assert_eq!(versions(&planned(&b, &rows, 4, Order::Any).unwrap()), [2, 4]);
}

#[test]
fn a_set_that_is_taken_later_begins_at_its_own_beginning() {
    let set = |name: &str, when: Option<&str>, file: &str| SetFiles {
        spec: SetSpec { name: name.into(), when: when.map(Into::into), ..SetSpec::default() },
        files: vec![File { name: file.into(), content: "SELECT 1;".into() }],
    };
    let sets = vec![set("core", None, "2_core.sql"), set("shop", Some("shop"), "1_shop.sql")];
    let b = Bundle::of_sets(sets).unwrap();
    let goal = Goal { main: b.main(), target: &2.into(), order: Order::Linear };
    let rows = [history(&b, &[2])];
    let without = b.taken_by(Scope::Tenants, &Labels::new());
    assert!(plan(&without, &rows, None, goal).unwrap().is_empty());
    let with = b.taken_by(Scope::Tenants, &Labels::from([("shop".into(), "yes".into())]));
    assert_eq!(versions(&plan(&with, &rows, None, goal).unwrap()), [1]);
    // It was taken once, and is not any more: its history is known all the same.
    assert!(plan(&without, &[history(&b, &[1, 2])], None, goal).unwrap().is_empty());
}

#[test]
fn what_says_itself_what_it_comes_after_is_out_of_order_only_for_that() {
    let file = |name: &str, dependencies: &str| File {
        name: format!("{name}.py"),
        content: format!("    dependencies = [{dependencies}]\n"),
    };
    let command = CommandSpec { preset: Some("django".into()), ..CommandSpec::default() };
    let files = vec![
        file("a/migrations/0001_x", ""),
        file("a/migrations/0002_y", "('a', '0001_x')"),
        file("b/migrations/0001_z", ""),
    ];
    let spec = SetSpec { name: "app".into(), command: Some(command), ..SetSpec::default() };
    let b = Bundle::of_sets(vec![SetFiles { spec, files }]).unwrap();
    let planned = |applied: &[&str]| -> Result<Vec<String>, Refusal> {
        let row = |version: &&str| Applied { version: (*version).into(), checksum: None, success: true };
        let goal = Goal { main: b.main(), target: &b.latest().version, order: Order::Linear };
        let taken = b.taken_by(Scope::Tenants, &Labels::new());
        let pending = plan(&taken, &[applied.iter().map(row).collect()], None, goal)?;
        Ok(pending.iter().map(|p| p.link.migration.version.to_string()).collect())
    };
    assert_eq!(planned(&["b.0001_z"]), Ok(vec!["a.0001_x".to_owned(), "a.0002_y".to_owned()]));
    assert_eq!(planned(&["a.0002_y"]).unwrap_err().code(), "out-of-order");
}

proptest! {
    #[test]
    fn applying_a_plan_leaves_nothing_pending(mask in proptest::collection::vec(any::<bool>(), 1..20), target in 1_i64..20) {
        let all: Vec<i64> = (1..=mask.len() as i64).collect();
        let b = bundle(&all);
        let done: Vec<i64> = all.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| *v).collect();
        let before = history(&b, &done);
        let target = target.min(all.len() as i64);
        let first = versions(&planned(&b, &before, target, Order::Any).unwrap());
        let after: Vec<i64> = done.iter().copied().chain(first.iter().copied()).collect();
        prop_assert!(planned(&b, &history(&b, &after), target, Order::Any).unwrap().is_empty());
        prop_assert!(first.iter().all(|v| *v <= target && !done.contains(v)));
    }

    /// Promise 2. However far an attempt came before it was lost: the next one does the rest, in the same order, and nothing twice.
    #[test]
    fn what_a_plan_left_undone_is_the_next_plan(
        mask in proptest::collection::vec(any::<bool>(), 1..20), target in 1_i64..20, done in 0_usize..20,
        order in proptest::sample::select(vec![Order::Linear, Order::Skip, Order::Any]),
    ) {
        let all: Vec<i64> = (1..=mask.len() as i64).collect();
        let (b, target) = (bundle(&all), target.min(all.len() as i64));
        let before: Vec<i64> = all.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| *v).collect();
        let Ok(first) = planned(&b, &history(&b, &before), target, order) else {
            prop_assert!(order == Order::Linear);
            return Ok(());
        };
        let first = versions(&first);
        prop_assert!(first.is_sorted(), "{:?}", first);
        let (done, rest) = first.split_at(done.min(first.len()));
        let after = [before, done.to_vec()].concat();
        let next = versions(&planned(&b, &history(&b, &after), target, order).unwrap());
        prop_assert_eq!(next, rest);
    }

    /// Promise 3.
    #[test]
    fn a_tenant_that_is_refused_is_refused_whatever_is_pending(
        count in 1_usize..12, changed in 0_usize..12, order in proptest::sample::select(vec![Order::Linear, Order::Skip, Order::Any]),
    ) {
        let all: Vec<i64> = (1..=count as i64).collect();
        let b = bundle(&all);
        let mut rows = history(&b, &all[..count - count / 3]);
        let at = changed % rows.len();
        rows[at].checksum = Some("another file's".into());
        prop_assert_eq!(planned(&b, &rows, count as i64, order).unwrap_err().code(), "checksum");
        rows[at].success = false;
        prop_assert_eq!(planned(&b, &rows, count as i64, order).unwrap_err().code(), "dirty");
    }
}
