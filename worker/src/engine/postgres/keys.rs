//! The keys of advisory locks.

use sha2::{Digest as _, Sha256};

/// Our key for a schema of the database we are connected to.
pub(super) fn own_key(schema: &str) -> i64 {
    let digest = Sha256::digest(format!("tenantry tenant lock {schema}").as_bytes());
    digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// The key that sqlx locks a database with (`sqlx-postgres/src/migrate.rs`).
pub(super) fn sqlx_key(database: &str) -> i64 {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    0x3d32_ad9e * i64::from(CRC.checksum(database.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_sqlx_is_the_one_sqlx_takes() {
        assert_eq!(sqlx_key("appdb"), 4_402_498_167_645_207_530);
    }

    #[test]
    fn two_schemas_have_two_keys() {
        assert_ne!(own_key("a"), own_key("b"));
    }
}
