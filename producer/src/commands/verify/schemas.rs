//! The schemas of tenants that should be alike: who is unlike the most of them, and in what.

use serde_json::{Value, json};
use tenantry_shared::{
    fault::Fault,
    ledger::Ledger,
    schema::{Catalog, Cluster, Difference, clusters, difference},
    tenant::Slug,
};
use tenantry_worker::verify::Peers;

use super::{Record, named};
use crate::output::{DIM, ERROR, GOOD};

/// How many schemas of each kind of tenants are told apart in detail: their catalogs are not small.
const DESCRIBED: usize = 50;

/// All kinds of tenants that should be alike among themselves.
pub(super) struct Schemas {
    groups: Vec<Group>,
}

struct Group {
    peers: Peers,
    /// The largest cluster.
    norm: Cluster<Slug>,
    others: Vec<(Cluster<Slug>, Option<Difference>)>,
}

impl Schemas {
    /// Compares what was read; the catalogs are fetched from the registry one after the other.
    pub(super) async fn compare(ledger: &Ledger, records: &[Record]) -> Result<Self, Fault> {
        let seen = records.iter().filter_map(|record| {
            let (peers, digest) = record.schema.clone()?;
            Some((peers, digest, record.slug.clone()))
        });
        let mut groups = Vec::new();
        for (peers, clusters) in clusters(seen) {
            let mut clusters = clusters.into_iter();
            let Some(norm) = clusters.next() else { continue };
            groups.push(Group { peers, others: described(ledger, &norm, clusters).await?, norm });
        }
        Ok(Self { groups })
    }

    pub(super) fn all_alike(&self) -> bool {
        self.groups.iter().all(|group| group.others.is_empty())
    }

    pub(super) fn document(&self) -> Value {
        let other = |(cluster, difference): &(Cluster<Slug>, Option<Difference>)| {
            json!({
                "digest": cluster.digest,
                "count": cluster.members.len(),
                "tenants": cluster.members,
                "text": difference.as_ref().map(|d| d.of_tenants(cluster.members.len())),
                "difference": difference,
            })
        };
        let group = |group: &Group| {
            json!({
                "engine": group.peers.engine,
                "standing": group.peers.standing,
                "digest": group.norm.digest,
                "count": group.norm.members.len(),
                "tenants": group.norm.members,
                "others": group.others.iter().map(other).collect::<Vec<_>>(),
            })
        };
        self.groups.iter().map(group).collect()
    }

    pub(super) fn text(&self) -> String {
        let mut out = "\nschemas\n".to_owned();
        for group in &self.groups {
            let (count, peers) = (group.norm.members.len(), &group.peers);
            let alone = count == 1 && group.others.is_empty();
            let (style, alike) = if alone { (DIM, "with none to compare") } else { (GOOD, "alike") };
            out.push_str(&format!(
                "{style}{count:>10}{style:#}  {alike} ({}, {})\n",
                peers.engine, peers.standing
            ));
            for (cluster, difference) in &group.others {
                out.push_str(&other_text(cluster, difference.as_ref()));
            }
        }
        out
    }
}

async fn described(
    ledger: &Ledger,
    norm: &Cluster<Slug>,
    others: impl ExactSizeIterator<Item = Cluster<Slug>>,
) -> Result<Vec<(Cluster<Slug>, Option<Difference>)>, Fault> {
    let mut described = Vec::with_capacity(others.len());
    let mut norm_catalog = None;
    for cluster in others {
        if described.len() >= DESCRIBED {
            described.push((cluster, None));
            continue;
        }
        if norm_catalog.is_none() {
            norm_catalog = ledger.schema(&norm.digest).await?;
        }
        let other: Option<Catalog> = ledger.schema(&cluster.digest).await?;
        let difference = norm_catalog.as_ref().zip(other).map(|(norm, other)| difference(norm, &other));
        described.push((cluster, difference));
    }
    Ok(described)
}

fn other_text(cluster: &Cluster<Slug>, difference: Option<&Difference>) -> String {
    let count = cluster.members.len();
    let what = match difference {
        Some(difference) => difference.of_tenants(count),
        None => format!("{count} of one more schema"),
    };
    let what = what.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let names = named(cluster.members.iter());
    let mut out = format!("{ERROR}{count:>10}{ERROR:#}  {what}\n{:>10}  {names}\n", "in");
    for (norm, here) in difference.map(|d| d.differs.as_slice()).unwrap_or_default() {
        for (word, object) in [("alike", norm), ("here", here)] {
            let definition = object.definition.trim().replace('\n', &format!("\n{:>12}", ""));
            out.push_str(&format!("{DIM}{word:>10}{DIM:#}  {object}: {definition}\n"));
        }
    }
    out
}
