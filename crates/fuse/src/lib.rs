//! The FUSE protocol, its transports, mounting, and the adapter to the engine.
//!
//! Way of a request: [`transport`] reads bytes, [`request`] decodes them, [`connection`] hands them to a
//! [`connection::Handler`] (for workspaces: [`adapter::Adapter`]), [`reply`] encodes the answer, the transport
//! writes it. [`pool`] has the threads for all mounts; [`mount`] makes and unmakes them; [`notify`] invalidates.
//!
//! Invariants: no unsafe code but in [`transport::uring`]; bytes from the kernel are checked before use; no workspace logic here.

pub mod abi;
pub mod adapter;
pub mod connection;
pub mod mount;
pub mod notify;
pub mod pool;
pub mod reply;
pub mod request;
pub mod transport;
mod waiting;
mod wake;
mod watchman;
mod wire;

pub use adapter::Adapter;
pub use connection::{Caching, Connection, Handler};
pub use mount::{Access, Mount, MountOptions, Mounted, Unmount, Unmounted};
pub use notify::{Forgotten, Heard, Notifier};
pub use pool::{Limits, MemberId, OnEnd, Pool};
pub use transport::dev::Device;
pub use transport::uring::Rings;
