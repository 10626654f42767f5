//! The rooms that every part of Tenantry shares.
//!
//! A module imports only modules that stand above it in this list. The first block is pure: values
//! in, values out. The second block reads the world: environment, time, files, databases, queues.
//! Nothing here knows clap, prints, or opens a tenant's database.

pub mod exit;
pub mod id;
pub mod digest;
pub mod version;
pub mod pooling;
pub mod place;
pub mod statement;
pub mod site;
pub mod schema;
pub mod tenant;
pub mod selector;
pub mod format;
pub mod command;
pub mod bundle;
pub mod plan;
pub mod failure;
pub mod codes;
pub mod retry;
pub mod wave;
pub mod gate;
pub mod timetable;
pub mod run;
pub mod job;
pub mod summary;

pub mod clock;
pub mod secret;
pub mod store;
pub mod config;
pub mod log;
pub mod registry;
pub mod source;
pub mod ledger;
pub mod queue;
pub mod fault;
