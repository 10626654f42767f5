//! Seed files that run again when they change.

use super::partner::{applied, history};
use crate::site::{KINDS, Site};

#[tokio::test]
async fn a_seed_runs_again_when_it_changes_and_only_then() {
    let site = Site::new(&KINDS, 1).await;
    for tenant in &site.fleet.tenants {
        tenant.execute("CREATE TABLE seen (n int)").await;
        let (first, second) = ("INSERT INTO seen VALUES (1);", "INSERT INTO seen VALUES (10);");
        let mut seeds = vec![("a.sql", first), ("below/b.sql", second)];
        assert_eq!(applied("repeatable", &seeds, tenant).await.expect("applied"), ["a.sql", "below/b.sql"]);
        assert!(applied("repeatable", &seeds, tenant).await.expect("nothing").is_empty());
        seeds[0].1 = "INSERT INTO seen VALUES (100);";
        assert_eq!(applied("repeatable", &seeds, tenant).await.expect("applied"), ["a.sql"]);
        seeds.remove(1);
        assert!(applied("repeatable", &seeds, tenant).await.expect("nothing").is_empty());
        for n in [1, 10, 100] {
            let times = tenant.number(&format!("SELECT count(*) FROM seen WHERE n = {n}")).await;
            assert_eq!(times, 1, "{n} in {}", tenant.id);
        }
        let names = history(tenant, "_tenantry_repeatable", &["name", "checksum"]).await;
        assert!(names.len() == 2 && names.iter().all(|row| row.ends_with(|c: char| c.is_ascii_hexdigit())));
    }
}
