//! The promises, each on real servers: one binary, one file a subject.

mod bad_input;
mod codes;
mod commands;
mod conformance;
mod dedicated;
mod engines;
mod faults;
mod fleet;
mod formats;
mod limits;
mod mariadb;
mod outages;
mod postgres;
mod registries;
mod runs;
mod schema;
mod secrets;
mod site;
mod sources;
mod sqlite;
mod sqlx;
mod stage;
mod state;
mod terminal;
mod tools;
mod verify;
