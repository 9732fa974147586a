//! Calls and how they end: what the suites assert, and what `docs/status-codes.md` says.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use tonic::{Code, Response, Status};

use crate::world::World;

type Call = Box<dyn Fn(Arc<World>) -> BoxFuture<'static, Result<(), Status>>>;

/// A call that must end with a status.
pub struct Case {
    pub rpc: &'static str,
    pub input: &'static str,
    pub code: Code,
    call: Call,
}

/// The cases of a service.
pub struct Suite {
    pub service: &'static str,
    pub cases: Vec<Case>,
}

impl Suite {
    pub const fn new(service: &'static str) -> Self {
        Self { service, cases: Vec::new() }
    }

    /// Adds a case: with this input `rpc` ends with `code`. What `call` needs first it must `expect`, so that only
    /// the call itself can fail.
    pub fn case<T, F>(
        &mut self,
        rpc: &'static str,
        input: &'static str,
        code: Code,
        call: impl Fn(Arc<World>) -> F + 'static,
    ) where
        F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let call = Box::new(move |world| call(world).map(|answer| answer.map(drop)).boxed());
        self.cases.push(Case { rpc, input, code, call });
    }

    /// Runs every case, one after the other, against the same processes.
    pub async fn run(self, world: World) {
        let world = Arc::new(world);
        let mut wrong = Vec::new();
        for Case { rpc, input, code, call } in self.cases {
            let (found, text) = match call(Arc::clone(&world)).await {
                Ok(()) => (Code::Ok, String::new()),
                Err(status) => (status.code(), status.message().to_owned()),
            };
            if found != code {
                wrong.push(format!("{rpc}, {input}: {found:?}, not {code:?}: {text}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
