//! Other tools' directories and histories: each tool agrees with what we did, and we with what it did.

mod atlas;
mod dbmate;
mod diesel;
mod flyway;
mod foreign;
mod golang_migrate;
mod goose;
mod multi_tenant;
mod node_pg_migrate;
pub(crate) mod partner;
mod prisma;
mod programs;
mod refinery;
mod repeatable;
mod reverted;
mod sequelize;
