//! What an operator sees of a duchy's computations, on the command line (`halo-duchy computations`) and on a web page that
//! a server shows (`--admin-address`): where each one is, what it waits for, what went wrong, and what to do about it.
//!
//! Everything is read from the store. Keys and data are not shown.

mod diagnosis;
mod json;
mod page;
mod progress;
mod selection;
mod server;
mod state;
mod text;
mod throughput;
mod timeline;

pub use diagnosis::Diagnosis;
pub(crate) use json::{attempts, size, use_of};
pub use json::{described, summarized};
pub(crate) use progress::{bar, described_progress, percent, progress};
pub use selection::{Selected, Selection};
pub use server::Console;
pub use state::State;
pub(crate) use text::{between, brief, bytes, end_reason, utc};
