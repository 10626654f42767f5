//! What the tests on real servers are made of. `tests/run` starts the servers that all tests share; a test that
//! breaks a server starts one of its own with [`server::Private`].

pub mod fleet;
pub mod home;
pub mod proxy;
pub mod server;
pub mod teller;
pub mod tool;
pub mod wait;

pub use fleet::{Fleet, TenantDb};
pub use home::{Home, Ran, WorkerProcess};
pub use proxy::{Proxy, Weather};
pub use tool::Tool;
