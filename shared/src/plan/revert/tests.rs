//! What is reverted and what refuses it, by example.

use super::*;
use crate::{
    bundle::{Bundle, Scope, SetFiles, SetSpec},
    command::CommandSpec,
    format::File,
    plan::tests::history,
    tenant::Labels,
};
use proptest::prelude::*;

fn file(name: String) -> File {
    File { content: format!("SELECT '{name}';"), name }
}

/// Migrations, of which these have no way back.
fn bundle(versions: &[i64], one_way: &[i64]) -> Bundle {
    let up = |v: &i64| file(if one_way.contains(v) { format!("{v}_m.sql") } else { format!("{v}_m.up.sql") });
    let downs = versions.iter().filter(|v| !one_way.contains(v)).map(|v| file(format!("{v}_m.down.sql")));
    Bundle::new(versions.iter().map(up).chain(downs).collect()).unwrap()
}

fn planned(
    bundle: &Bundle,
    rows: &[Applied],
    progress: Option<&Progress>,
    aim: Aim<'_>,
) -> Result<Vec<i64>, Refusal> {
    let taken = bundle.taken_by(Scope::Tenants, &Labels::new());
    let plan = revert(&taken, &[rows.to_vec()], progress, aim)?;
    Ok(plan.iter().map(|p| p.link.migration.version.as_str().parse().unwrap()).collect())
}

fn half_way(version: i64, down: bool) -> Progress {
    Progress {
        table: "_sqlx_migrations".into(),
        version: version.into(),
        down,
        done: 1,
        ..Progress::default()
    }
}

#[test]
fn the_newest_is_reverted_first_as_far_as_is_asked_for() {
    let b = bundle(&[1, 2, 3, 4], &[]);
    let rows = history(&b, &[1, 2, 4]);
    let two = Version::from(2);
    assert_eq!(planned(&b, &rows, None, Aim::Steps(2)).unwrap(), [4, 2]);
    assert_eq!(planned(&b, &rows, None, Aim::Steps(9)).unwrap(), [4, 2, 1]);
    assert_eq!(planned(&b, &rows, None, Aim::To(Some(&two))).unwrap(), [4]);
    assert_eq!(planned(&b, &rows, None, Aim::To(None)).unwrap(), [4, 2, 1]);
    assert_eq!(planned(&b, &rows, None, Aim::Exactly(&[4.into(), 3.into()])).unwrap(), [4]);
}

#[test]
fn nothing_is_reverted_under_what_stays() {
    let b = bundle(&[1, 2, 3], &[]);
    let rows = history(&b, &[1, 2, 3]);
    let newer = planned(&b, &rows, None, Aim::Exactly(&[2.into()])).unwrap_err();
    assert_eq!(newer, Refusal::Newer { version: 3.into() });
    // The files of the run that is reverted do not have what came later.
    let older = bundle(&[1, 2], &[]);
    assert_eq!(planned(&older, &rows, None, Aim::Exactly(&[2.into()])).unwrap_err(), newer);
    assert_eq!(planned(&older, &rows, None, Aim::Steps(1)).unwrap_err().code(), "missing");
}

#[test]
fn one_migration_without_a_way_back_refuses_all_of_it() {
    let b = bundle(&[1, 2, 3], &[2]);
    let rows = history(&b, &[1, 2, 3]);
    let refusal = planned(&b, &rows, None, Aim::Steps(2)).unwrap_err();
    assert_eq!(refusal, Refusal::NoDown { version: 2.into(), file: "2_m.sql".into() });
    assert_eq!(planned(&b, &rows, None, Aim::Steps(1)).unwrap(), [3]);
}

#[test]
fn a_history_that_does_not_agree_is_refused() {
    let b = bundle(&[1, 2], &[]);
    let mut rows = history(&b, &[1, 2]);
    rows[0].checksum = Some("0".into());
    assert_eq!(planned(&b, &rows, None, Aim::Steps(1)).unwrap_err().code(), "checksum");
    let mut rows = history(&b, &[1, 2]);
    rows[1].success = false;
    assert_eq!(planned(&b, &rows, None, Aim::Steps(1)).unwrap_err().code(), "dirty");
    assert_eq!(planned(&b, &rows, Some(&half_way(2, false)), Aim::Steps(1)).unwrap_err().code(), "dirty");
    let doubt = Progress { doubt: true, ..half_way(2, true) };
    assert_eq!(planned(&b, &rows, Some(&doubt), Aim::Steps(1)).unwrap_err().code(), "doubt");
}

#[test]
fn what_is_half_reverted_is_gone_on_with_and_counts() {
    let b = bundle(&[1, 2, 3], &[]);
    let mut rows = history(&b, &[1, 2]);
    rows[1].success = false;
    let progress = half_way(2, true);
    assert_eq!(planned(&b, &rows, Some(&progress), Aim::Steps(1)).unwrap(), [2]);
    let two = Version::from(2);
    let refusal = planned(&b, &rows, Some(&progress), Aim::To(Some(&two))).unwrap_err();
    assert_eq!(refusal, Refusal::HalfReverted { version: 2.into(), file: "2_m.up.sql".into() });
}

#[test]
fn the_last_chain_is_reverted_first() {
    let set = |name: &str, table: Option<&str>, files: &[&str]| SetFiles {
        spec: SetSpec { name: name.into(), table: table.map(Into::into), ..SetSpec::default() },
        files: files.iter().map(|name| file((*name).into())).collect(),
    };
    let core = set("core", None, &["1_a.up.sql", "1_a.down.sql"]);
    let shop = set("shop", Some("shop"), &["1_b.up.sql", "1_b.down.sql", "2_c.up.sql", "2_c.down.sql"]);
    let b = Bundle::of_sets(vec![core, shop]).unwrap();
    let taken = b.taken_by(Scope::Tenants, &Labels::new());
    let row = |v: i64| Applied { version: v.into(), checksum: None, success: true };
    let rows = [vec![row(1)], vec![row(1), row(2)]];
    let ids = |aim| -> Vec<String> {
        let plan = revert(&taken, &rows, None, aim).unwrap();
        plan.iter().map(|p| p.link.id.to_string()).collect()
    };
    assert_eq!(ids(Aim::To(None)), ["shop/2", "shop/1", "1"]);
    let (one, shop) = (Version::from(1), Version::from("shop/1"));
    assert!(ids(Aim::To(Some(&one))).is_empty());
    assert_eq!(ids(Aim::To(Some(&shop))), ["shop/2"]);
}

#[test]
fn a_repeatable_migration_is_left_alone_only_when_nothing_else_is_left() {
    let b = bundle(&[1, 2], &[2]);
    let mut chain = b.main().clone();
    chain.links[1].migration.repeatable = true;
    let taken = [Taken { chain: &chain, links: vec![true, true] }];
    let alone = |versions: &[i64]| left_alone(&taken, &[history(&b, versions)]).len();
    assert_eq!((alone(&[1, 2]), alone(&[2]), alone(&[])), (0, 1, 0));
    assert!(revert(&taken, &[history(&b, &[2])], None, Aim::To(None)).unwrap().is_empty());
}

#[test]
fn what_a_program_applied_is_not_ours_to_revert() {
    let command = CommandSpec { run: vec!["x".into()], ..CommandSpec::default() };
    let django = CommandSpec { preset: Some("django".into()), ..CommandSpec::default() };
    let python = File { name: "a/migrations/0001_x.py".into(), content: "    dependencies = []\n".into() };
    for (format, command, files, known) in
        [(None, django, vec![python], Some("a.0001_x")), (Some("none".to_owned()), command, Vec::new(), None)]
    {
        let spec = SetSpec { name: "app".into(), command: Some(command), format, ..SetSpec::default() };
        let b = Bundle::of_sets(vec![SetFiles { spec, files }]).unwrap();
        let row = |version: &str| Applied { version: version.into(), checksum: None, success: true };
        let rows = [known.map(row).into_iter().collect()];
        let taken = b.taken_by(Scope::Tenants, &Labels::new());
        let id = b.main().links[0].id.clone();
        for aim in [Aim::To(None), Aim::Exactly(std::slice::from_ref(&id))] {
            assert_eq!(revert(&taken, &rows, None, aim).unwrap_err().code(), "command", "{aim:?}");
        }
    }
}

proptest! {
    #[test]
    fn reverting_a_plan_leaves_nothing_to_revert(mask in proptest::collection::vec(any::<bool>(), 1..20), to in 0_i64..20) {
        let all: Vec<i64> = (1..=mask.len() as i64).collect();
        let b = bundle(&all, &[]);
        let done: Vec<i64> = all.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| *v).collect();
        let to = to.min(all.len() as i64);
        let version = Version::from(to);
        let aim = Aim::To((to > 0).then_some(&version));
        let plan = planned(&b, &history(&b, &done), None, aim).unwrap();
        let left: Vec<i64> = done.iter().copied().filter(|v| !plan.contains(v)).collect();
        prop_assert!(left.iter().all(|v| *v <= to) && plan.is_sorted_by(|a, b| a > b));
        prop_assert!(planned(&b, &history(&b, &left), None, aim).unwrap().is_empty());
    }
}
