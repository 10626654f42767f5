//! The tenant's lock, and what is read under it at once.
//!
//! `GET_LOCK` wants a time limit: MariaDB answers NULL to the endless one that sqlx asks for, and locks nothing.

use sha2::{Digest as _, Sha256};
use tenantry_shared::{
    clock::millis,
    digest::hex,
    failure::{Class, Failure},
    site::Row,
};

use super::{DENIED, MySqlSession, NO_SUCH_TABLE, there::There};
use crate::engine::{Seen, Select, Session as _, doing::Lock};

impl MySqlSession {
    /// Ours, and the one that sqlx takes.
    pub(super) async fn take_locks(&mut self) -> Result<(), Failure> {
        let seconds = i64::try_from(millis(self.limits.lock).div_ceil(1000).max(1)).unwrap_or(i64::MAX);
        for name in [own_lock(&self.database), sqlx_lock(&self.database)] {
            self.doing.lock(Some(Lock::Named(name.clone())));
            let take = format!("SELECT CAST(GET_LOCK('{name}', {seconds}) AS CHAR)");
            let taken = self.all(&[take]).await?;
            if !is_one(taken.first()) {
                let busy = Failure::new(
                    Class::Transient,
                    "locked",
                    format!("somebody else is migrating this tenant, for more than {seconds} s"),
                );
                let busy = busy.with_hint("see SHOW PROCESSLIST, or wait longer with --lock-timeout");
                return Err(self.explained_lock(busy, &name).await);
            }
        }
        self.doing.lock(None);
        Ok(())
    }

    /// In a new session, both locks, if they are to be had at once, and what is asked: in one message, up to the first table
    /// that is not there. Which tables are is asked before, and so is what needs none, unless they tell it.
    pub(super) async fn seen_at_once(
        &mut self,
        needed: Vec<Select>,
        wanted: Vec<Select>,
    ) -> Result<Seen, Failure> {
        let count = needed.len();
        let asks: Vec<Select> = needed.into_iter().chain(wanted).collect();
        let mut order: Vec<usize> = (0..asks.len()).filter(|at| told_by(&asks[*at]).is_none()).collect();
        order.sort_by_key(|at| asks[*at].table.is_some());
        let mut message = vec![self.listing()];
        message.extend(order.iter().map(|at| asks[*at].sql.clone()));
        let (locked, answers, failed) = self.introduced(&self.both_locks(), &message).await?;
        match failed {
            None => {}
            Some(failed) if failed.code == NO_SUCH_TABLE && !answers.is_empty() => {}
            // An account that may only read histories can still be told that there is nothing to do.
            Some(failed) if failed.code == DENIED => {
                let rows = self.read_all(&asks[..count]).await?;
                return Ok(Seen { locked: false, rows });
            }
            Some(failed) => return Err(failed),
        }
        let locked = locked.as_deref() == Some("1");
        let mut read = answers.into_iter();
        let there: Vec<String> = read.next().into_iter().flatten().flatten().flatten().collect();
        let is_there = |name: &String| there.iter().any(|there| there.eq_ignore_ascii_case(name));
        let none_of = |names: &[String]| (!names.iter().any(is_there)).then(Vec::new);
        let mut rows: Vec<_> = asks.iter().map(|select| told_by(select).and_then(none_of)).collect();
        let mut missed = false;
        for at in order {
            rows[at] = match read.next() {
                Some(read) => Some(read),
                None if missed && self.may_be_there(&asks[at], &there) => self.read(&asks[at].sql).await?,
                None => None,
            };
            missed |= rows[at].is_none();
        }
        rows.truncate(if locked { asks.len() } else { count });
        self.there = locked.then(|| There::of(there));
        Ok(Seen { locked, rows })
    }

    /// Whether the table of this selection may be among those that are there.
    fn may_be_there(&self, select: &Select, there: &[String]) -> bool {
        let name = select.table.as_deref().and_then(|table| self.bare(table));
        name.is_none_or(|name| there.iter().any(|there| there.eq_ignore_ascii_case(&name)))
    }

    fn both_locks(&self) -> String {
        let [own, sqlx] = [own_lock(&self.database), sqlx_lock(&self.database)];
        format!("CASE WHEN GET_LOCK('{own}', 0) = 1 THEN CAST(GET_LOCK('{sqlx}', 0) AS CHAR) ELSE '0' END")
    }

    /// Which tables are there. Names alone are read from no table's file.
    fn listing(&self) -> String {
        format!(
            "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = {}",
            self.literal()
        )
    }

    /// The name of a table of this database, as it was before it was quoted.
    fn bare(&self, table: &str) -> Option<String> {
        let site = self.site("");
        let name = table.strip_prefix(&site.name(&self.database))?.strip_prefix(".`")?.strip_suffix('`')?;
        Some(name.replace("``", "`"))
    }
}

/// The tables of which one must be there for a selection of what is always there to have a row.
fn told_by(select: &Select) -> Option<&[String]> {
    let guard = select.guard.as_ref().filter(|guard| select.table.is_none() && guard.schema.is_none())?;
    Some(&guard.tables)
}

fn is_one(rows: Option<&Vec<Row>>) -> bool {
    let first = rows.and_then(|rows| rows.first()?.first()?.as_deref());
    first == Some("1")
}

/// At most 64 characters, which is all that `GET_LOCK` takes.
fn own_lock(database: &str) -> String {
    format!("tenantry:{}", hex(&Sha256::digest(database.as_bytes())[..16]))
}

/// The name that sqlx locks a database with (`sqlx-mysql/src/migrate.rs`).
fn sqlx_lock(database: &str) -> String {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    format!("{:x}", 0x3d32_ad9e * i64::from(CRC.checksum(database.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_names_are_short_enough_and_differ() {
        assert!(own_lock(&"x".repeat(500)).len() <= 64);
        assert_ne!(own_lock("a"), own_lock("b"));
        assert_eq!(sqlx_lock("appdb"), format!("{:x}", 4_402_498_167_645_207_530_i64));
    }
}
