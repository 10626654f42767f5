//! How files become chains, by example.

use super::{arrange::fits, *};
use crate::format::Rules;

fn files(pairs: &[(&str, &str)]) -> Vec<File> {
    pairs.iter().map(|(n, c)| File { name: (*n).into(), content: (*c).into() }).collect()
}

fn set(name: &str, table: Option<&str>, when: Option<&str>, pairs: &[(&str, &str)]) -> SetFiles {
    let spec = SetSpec {
        name: name.into(),
        table: table.map(Into::into),
        when: when.map(Into::into),
        ..SetSpec::default()
    };
    SetFiles { spec, files: files(pairs) }
}

fn ids(chain: &Chain) -> Vec<&str> {
    chain.links.iter().map(|link| link.id.as_str()).collect()
}

#[test]
fn a_readme_does_not_change_the_digest() {
    let plain = Bundle::new(files(&[("1_a.sql", "x")])).unwrap();
    let with = Bundle::new(files(&[("1_a.sql", "x"), ("README.md", "hello")])).unwrap();
    assert_eq!(plain.digest(), with.digest());
    assert_eq!(with.latest().version, 1.into());
    assert!(with.get(&1.into()).is_some() && with.get(&2.into()).is_none());
}

#[test]
fn sql_that_no_set_keeps_is_told() {
    let all = [("tenant:1-a.sql", "x"), ("public:1-a.sql", "y"), ("seed.SQL", "z"), ("notes.md", "")];
    let part = |name: &str, pattern: Option<&str>| {
        let mut part = set(name, Some(name), None, &all);
        part.spec.files = pattern.map(Into::into);
        part
    };
    let ignored = |sets| Bundle::of_sets(sets).unwrap().ignored().to_vec();
    let seed = Ignored { file: "seed.SQL".into(), format: "multi-tenant-migrate" };
    assert_eq!(ignored(vec![part("own", None)]).first(), Some(&seed));
    assert_eq!(ignored(vec![part("own", None), part("shared", Some("public*"))]), [seed]);
    assert_eq!(ignored(vec![part("own", Some("tenant*"))]), []);
}

#[test]
fn a_stored_bundle_is_read_as_it_was() {
    let sets = vec![
        set("core", None, None, &[("1_a.sql", "x")]),
        set("shop", Some("shop_history"), Some("plan=pro"), &[("1_b.sql", "y")]),
    ];
    let bundle = Bundle::of_sets(sets).unwrap();
    let again = Bundle::stored(bundle.files().to_vec()).unwrap();
    assert_eq!(bundle.digest(), again.digest());
    assert_eq!(again.chains().iter().map(ids).collect::<Vec<_>>(), [["1"], ["shop/1"]]);
}

#[test]
fn sets_that_share_a_table_are_one_sequence() {
    let sets = vec![
        set("core", None, None, &[("1_a.sql", "x"), ("3_c.sql", "z")]),
        set("shop", None, Some("plan=pro"), &[("2_b.sql", "y"), ("3_c.sql", "z")]),
    ];
    let bundle = Bundle::of_sets(sets).unwrap();
    assert_eq!(ids(bundle.main()), ["1", "2", "3"]);
    let pro = Labels::from([("plan".to_owned(), "pro".to_owned())]);
    assert_eq!(bundle.taken_by(Scope::Tenants, &pro)[0].links, [true, true, true]);
    assert_eq!(bundle.taken_by(Scope::Tenants, &Labels::new())[0].links, [true, false, true]);
}

#[test]
fn a_file_of_one_name_in_two_sets_must_be_the_same_file() {
    let sets =
        vec![set("core", None, None, &[("1_a.sql", "x")]), set("shop", None, None, &[("1_a.sql", "other")])];
    assert!(matches!(Bundle::of_sets(sets), Err(BundleError::Clash { .. })));
}

fn format(names: &[&str], content: &str) -> Result<&'static str, String> {
    let pairs: Vec<_> = names.iter().map(|name| (*name, content)).collect();
    format_of("core", &files(&pairs)).map(Rules::name).map_err(|e| e.to_string())
}

#[test]
fn a_format_is_found_out_by_its_own_marks_and_is_sqlx_without_any() {
    let (dbmate, goose) = ("-- migrate:up\n-- migrate:down\n", "-- +goose Up\n");
    assert_eq!(format(&["1_a.sql"], dbmate), Ok("dbmate"));
    assert_eq!(format(&["1_a.sql"], goose), Ok("goose"));
    assert_eq!(format(&["1_a.sql"], "-- Up Migration\n"), Ok("node-pg-migrate"));
    assert_eq!(format(&["tenant:1-a.sql"], ""), Ok("multi-tenant-migrate"));
    assert_eq!(format(&["20240101000000-a.sql"], ""), Ok("sequelize"));
    assert_eq!(format(&["V1__a.sql", "R__b.sql"], ""), Ok("flyway"));
    assert_eq!(format(&["V1__a.sql", "mod.rs"], ""), Ok("refinery"));
    assert_eq!(format(&["V20240101000000__a.sql", "mod.rs"], ""), Ok("refinery-int8"));
    assert_eq!(format(&["2024-01-01-000000_a/up.sql"], ""), Ok("diesel"));
    assert_eq!(format(&["20240101000000_a/migration.sql", "migration_lock.toml"], ""), Ok("prisma"));
    assert_eq!(format(&["1_a.sql", "atlas.sum"], ""), Ok("atlas"));
    assert_eq!(format(&["1_a.sql", "atlas.sum"], goose), Ok("goose"));
    for plain in [&["1_a.sql"][..], &["1_a.up.sql", "1_a.down.sql"], &["README.md"], &[]] {
        assert_eq!(format(plain, ""), Ok("sqlx"), "{plain:?}");
    }
    let both = format(&["1_a.sql"], &format!("{dbmate}{goose}")).unwrap_err();
    assert!(both.contains("core") && both.contains("dbmate or goose"), "{both}");
}

#[test]
fn one_directory_serves_several_sets() {
    let all = [("tenant:1-a.sql", "x"), ("public:1-a.sql", "y"), ("tenant:2-b.sql", "z")];
    let part = |name: &str, pattern: &str, scope: Scope| {
        let mut part = set(name, None, None, &all);
        (part.spec.files, part.spec.scope) = (Some(pattern.into()), scope);
        part
    };
    let sets = vec![part("own", "tenant*", Scope::Tenants), part("shared", "public*", Scope::Central)];
    let bundle = Bundle::of_sets(sets).unwrap();
    let chains: Vec<_> = bundle.chains().iter().map(ids).collect();
    assert_eq!(chains, [vec!["tenant:1-a.sql", "tenant:2-b.sql"], vec!["shared/public:1-a.sql"]]);
    assert_eq!(bundle.digest(), Bundle::stored(bundle.files().to_vec()).unwrap().digest());
}

#[test]
fn a_history_of_one_row_is_not_shared_with_a_set_for_some() {
    let sets = |table: Option<&str>, when: Option<&str>| {
        let mut both = vec![
            set("core", None, None, &[("1_a.up.sql", "x")]),
            set("shop", table, when, &[("2_b.up.sql", "y")]),
        ];
        both.iter_mut().for_each(|set| set.spec.format = Some("golang-migrate".into()));
        Bundle::of_sets(both)
    };
    assert!(matches!(sets(None, Some("plan=pro")), Err(BundleError::Untold { .. })));
    assert!(sets(Some("shop_migrations"), Some("plan=pro")).is_ok() && sets(None, None).is_ok());
}

#[test]
fn a_star_is_any_text() {
    for (pattern, name) in [("*", ""), ("a*", "a"), ("*.sql", "x/y.sql"), ("a*b*c", "a-bb-c"), ("é*", "éa")]
    {
        assert!(fits(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in [("", "a"), ("a*", "ba"), ("*.sql", "sql"), ("a*b*c", "ac"), ("a", "ab")] {
        assert!(!fits(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn a_file_in_two_directories_of_a_set_is_one_file_or_an_error() {
    let same = set("core", None, None, &[("1_a.sql", "x"), ("1_a.sql", "x")]);
    let bundle = Bundle::of_sets(vec![same]).unwrap();
    assert_eq!((ids(bundle.main()), bundle.files().len()), (vec!["1"], 2));
    let readmes = set("core", None, None, &[("1_a.sql", "x"), ("README.md", "a"), ("README.md", "b")]);
    assert!(Bundle::of_sets(vec![readmes]).is_ok());
    let other = set("core", None, None, &[("1_a.sql", "x"), ("1_a.sql", "y")]);
    assert!(matches!(Bundle::of_sets(vec![other]), Err(BundleError::Twice { .. })));
}

#[test]
fn a_bundle_of_which_only_some_sets_are_worked_keeps_its_name_and_its_ids() {
    let mut central = set("plans", None, None, &[("1_p.sql", "p")]);
    central.spec.scope = Scope::Central;
    let sets = || {
        vec![
            central.clone(),
            set("core", None, None, &[("1_a.sql", "x"), ("4_d.sql", "d")]),
            set("shop", Some("shop_history"), None, &[("2_b.sql", "y")]),
        ]
    };
    let only = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Bundle::of_sets(sets()).unwrap().only(&names)
    };
    let whole = only(&[]).unwrap();
    assert!(whole.is_whole() && whole.has_central() && whole.tells_versions());
    let shop = only(&["shop"]).unwrap();
    assert!(!shop.is_whole() && !shop.has_central() && !shop.tells_versions());
    assert_eq!(shop.digest(), whole.digest());
    assert_eq!((ids(shop.main()), shop.latest().version.as_str()), (vec!["shop/2"], "2"));
    let taken = shop.taken_by(Scope::Tenants, &Labels::new());
    assert_eq!(taken.iter().map(|t| ids(t.chain)).collect::<Vec<_>>(), [["shop/2"]]);
    assert_eq!(ids(only(&["shop", "core"]).unwrap().main()), ["1", "4"]);
    assert_eq!(ids(only(&["plans"]).unwrap().main()), ["plans/1"]);
    let unknown = only(&["shops"]).unwrap_err().to_string();
    assert_eq!(unknown, "there is no set 'shops' (there are: plans, core, shop)");
}

#[test]
fn an_unknown_format_is_named_with_those_there_are() {
    let mut unknown = set("core", None, None, &[("1_a.sql", "x")]);
    unknown.spec.format = Some("sqlxx".into());
    let error = Bundle::of_sets(vec![unknown]).unwrap_err().to_string();
    assert!(error.contains("'sqlxx'") && error.contains("sqlx"), "{error}");
}
